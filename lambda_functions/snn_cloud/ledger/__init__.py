"""A run's record in DynamoDB: what it is, its parameters, and who may advance it."""
