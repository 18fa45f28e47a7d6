"""Formulas of the papers in float64; they import nothing of ours."""
