"""How a run starts: what may be requested, and what is refused."""
