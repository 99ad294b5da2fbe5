"""How a trainer works through its time, alone, with other trainers or with neurons."""
