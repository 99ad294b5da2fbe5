"""The endpoint from outside: where it is, and asking it."""
