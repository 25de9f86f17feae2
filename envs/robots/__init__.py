"""Robot tasks: environments that are acted in."""
