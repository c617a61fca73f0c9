"""The results table: a Delta table at ``OUTPUT/results/`` with one row a sample, written by group commits, each parcel once."""
