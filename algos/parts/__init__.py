"""Pure functions of tensors that more than one family is built of."""
