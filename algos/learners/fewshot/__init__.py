"""Few-shot meta-learning: an initialisation, and where to learn from it, for tasks of a few samples."""
