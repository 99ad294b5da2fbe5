"""Tables of strangers: their files, what their columns become, which rows train and which test."""
