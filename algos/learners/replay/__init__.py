"""Plain networks that rehearse."""
