"""(IA)³: learned vectors that rescale inner activations."""
