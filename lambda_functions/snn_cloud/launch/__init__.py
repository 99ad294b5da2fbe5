"""How a run begins: what may be asked for, and what is refused."""
