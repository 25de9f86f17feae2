"""Tables of the La-MAML paper."""
