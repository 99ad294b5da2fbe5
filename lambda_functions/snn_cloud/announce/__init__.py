"""EventLambda: what changes in the ledger, as events of EventBridge."""
