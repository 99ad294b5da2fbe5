"""Reports on a model: its figures on a test set, the report and its page."""
