"""OSAKA: online streams whose hidden task changes without notice, one specification per method and p."""
