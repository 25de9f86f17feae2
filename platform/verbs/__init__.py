"""What every verb does, for the command line and for Python alike."""
