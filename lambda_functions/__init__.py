"""The Lambda functions: thin handlers, and beside them the two packages they share with all else."""
