"""Norm tuning: trained scales of the norms."""
