"""VeRA: one pair of frozen random matrices for all layers, and trained vectors that scale them."""
