"""Few-shot experiments: the MAML family with and without masks, on Omniglot, miniImageNet and embedded glyphs."""
