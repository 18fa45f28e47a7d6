"""How likely a model finds proteins and their variants."""
