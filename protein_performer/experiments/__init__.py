"""The paper's claims that need no training: each file measures one, beside the theory's line."""
