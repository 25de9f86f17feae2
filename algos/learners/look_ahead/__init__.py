"""The La-MAML family."""
