"""Selective tuning: chosen weights, or a random choice among them up to a budget."""
