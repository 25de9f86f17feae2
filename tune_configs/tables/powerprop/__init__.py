"""Tables and figures of the Powerpropagation paper."""
