"""Formulas that SQL cannot say well; pure functions over frames."""
