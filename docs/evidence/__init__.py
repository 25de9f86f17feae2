"""What is to be run for docs/results, in its order, on one core that nobody misses: `python -m docs.evidence`."""
