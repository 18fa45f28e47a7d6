"""Stored proteins to batches: rows, their order, what is asked of the model."""
