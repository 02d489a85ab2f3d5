"""Pretraining of the bundled backbones: ``python -m autodelta.backbones.pretrain --help``."""
