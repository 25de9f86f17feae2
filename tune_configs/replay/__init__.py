"""Replay experiments: La-MAML and its family, and the baselines with a memory, on MNIST streams."""
