"""What a run made."""
