"""Data and models in files: how they are encoded, and how a stranger's file is read without trusting it."""
