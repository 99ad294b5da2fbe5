"""Data on their way to the bucket: files of strangers, photos, folds, uploads."""
