"""Text, wherever it lies and however it is packed, to blocks of records."""
