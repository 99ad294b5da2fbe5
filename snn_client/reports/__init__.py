"""What is said of a model: its figures on a test set, the report and its page."""
