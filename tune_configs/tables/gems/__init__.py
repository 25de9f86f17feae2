"""Tables of the paper on generated meta-subnets."""
