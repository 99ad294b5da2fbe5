"""The endpoint: what is asked of a model, which version answers, and what that costs."""
