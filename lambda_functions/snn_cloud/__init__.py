"""What a run is in AWS: ledger, cache, places in S3, stack, launch, cancel, logs, messages, money."""
