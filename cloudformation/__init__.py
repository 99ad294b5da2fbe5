"""The stack's templates, as data that an installed `snn` can deploy."""
