"""Networks that are trained sparse."""
