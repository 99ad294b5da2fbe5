"""Looking into a run: its kept epochs, and what its neurons do."""
