"""Experiments on robot tasks: soft actor-critic, task after task, with what protects old policies."""
