"""The registry: all versions of a model, what was decided on them, and which of them answer."""
