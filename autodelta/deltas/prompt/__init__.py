"""Prompt tuning: trained embeddings in front of a stack's input."""
