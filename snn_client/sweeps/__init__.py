"""Many runs beside each other: what a sweep trains, and how its networks compare."""
