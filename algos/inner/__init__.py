"""The inner loop, and where to learn."""
