"""Whether data have changed: a data set beside the one that a model was trained on, or what an endpoint is asked.

From the bottom: `chance` (p-values), `bins` (what is counted), `looks` (photos as a few numbers), `directions` (what a
backbone sees, as a few numbers), `columns` (tables), `features` (which of these a data set has), `reference` (what is
kept of the training data), `summary` (what is kept of requests), `report` (the comparison). NumPy only.
"""
