"""What a run uses, costs and may cost."""
