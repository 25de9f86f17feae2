"""Tables of the Powerpropagation paper."""
