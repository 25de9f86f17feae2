"""Work sent to a Ray cluster through its head: what is checked before, what is sent, how it is followed."""
