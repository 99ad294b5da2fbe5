"""Data on its way to the bucket: untrusted files, photos, folds, uploads."""
