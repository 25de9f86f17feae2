"""Experiments on networks that become sparse: PackNet and EfficientPackNet, with and without Powerpropagation."""
