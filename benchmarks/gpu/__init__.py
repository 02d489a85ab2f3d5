"""The sections of ``on_gpu.py``."""
