"""Sweeps: what they train, and how their networks compare."""
