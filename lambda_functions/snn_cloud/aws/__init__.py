"""What talks to AWS: clients that count what they ask, where files lie, what a function prints."""
