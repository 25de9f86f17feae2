"""What to run: specifications, checked and typed."""
