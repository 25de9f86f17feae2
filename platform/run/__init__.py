"""One run: its folder, the loop that leads it, what came of it."""
