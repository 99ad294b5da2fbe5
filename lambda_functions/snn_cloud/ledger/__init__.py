"""What a run is, what was asked for it, and who may advance it: the DynamoDB record."""
