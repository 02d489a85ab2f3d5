"""Prefix tuning: trained keys and values in front of an attention's own."""
