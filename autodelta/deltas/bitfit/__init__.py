"""BitFit: trained biases."""
