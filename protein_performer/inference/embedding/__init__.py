"""Vectors of proteins, and the files they are written to."""
