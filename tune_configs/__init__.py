"""Experiments as YAML, one file each: what to run, and the published number it answers to."""
