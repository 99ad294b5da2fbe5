"""The deployed stack: what is uploaded, how it is deployed, what belongs to it, how it goes away."""
