"""Runs from outside: launching, watching, listing, their logs and what they will cost."""
