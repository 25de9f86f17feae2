"""Tables of Continual World."""
