"""Methods that learn a hidden stream as it comes."""
