"""What a run will take, from a short measured part of it: the probe, and what its figures say of the whole."""
