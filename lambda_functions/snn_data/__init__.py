"""Data and models in files: how they are encoded, and how untrusted files are read."""
