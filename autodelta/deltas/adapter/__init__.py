"""Adapters: a small bottleneck network after or beside a sublayer."""
