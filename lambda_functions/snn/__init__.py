"""The network: parameters, data set, layers, strategies, training, metrics. Pure NumPy, no cloud in sight."""
