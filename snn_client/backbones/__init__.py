"""Backbones: making and checking them, keeping them in a stack, and having photos turned into features by them."""
