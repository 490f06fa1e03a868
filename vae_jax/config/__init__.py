"""Flags: their schema, the command line, sweeps, what combines, and the specs built of them."""
