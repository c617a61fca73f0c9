"""Pictures looked at and decided about, one by one, in a browser."""
