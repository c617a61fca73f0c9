"""Restore image corpora with diffusion priors: RePaint on Ray Data, exactly once, into a Delta table."""
