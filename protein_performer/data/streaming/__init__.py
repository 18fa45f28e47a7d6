"""Batches of sources as they are read, a buffer of proteins at a time."""
