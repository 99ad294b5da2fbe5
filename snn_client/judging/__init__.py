"""How good a model is, and how sure that is: figures, their intervals, evidence for a difference, slices."""
