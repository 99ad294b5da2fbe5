"""FeatureLambda: photos in, their features out."""
