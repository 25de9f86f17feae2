"""Experiments on the user's own data: a folder of pictures, or arrays."""
