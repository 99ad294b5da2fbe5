"""Which model is promoted, and how."""
