"""Full fine-tuning, the baseline: a trained difference for every weight."""
