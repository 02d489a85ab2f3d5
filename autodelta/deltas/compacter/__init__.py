"""Compacter: adapters whose matrices are sums of Kronecker products with factors shared by all layers."""
