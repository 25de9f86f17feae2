"""Tables of the gradient sparsity paper."""
