"""Intrinsic-dimension training: one short vector, projected into all chosen weights."""
