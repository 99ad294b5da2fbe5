"""What a run takes, costs and may cost."""
