"""How well a model predicts residues, beside baselines."""
