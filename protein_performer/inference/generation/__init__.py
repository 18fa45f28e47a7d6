"""New proteins, residue by residue."""
