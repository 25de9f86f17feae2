"""Which weights may change."""
