"""Linear-time protein language models: train, compare and use them."""
