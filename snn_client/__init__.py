"""What operators and commands use and Lambda never sees: the stack, runs, data, reports, models, sweeps."""
