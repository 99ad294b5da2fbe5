"""What operators and commands use and Lambda does not: the stack, runs, data, reports, models, sweeps."""
