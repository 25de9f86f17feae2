"""Networks as pure functions of named weights."""
