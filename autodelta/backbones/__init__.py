"""Backbones: load a T5 by hub id, path or bundled name; find its roles; the pretraining of the bundled ones."""

from autodelta.backbones.loading import Backbone, bundled, load, weights_sha256

__all__ = ["Backbone", "bundled", "load", "weights_sha256"]
