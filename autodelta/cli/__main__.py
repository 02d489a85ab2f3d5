"""``python -m autodelta.cli``."""

from autodelta.cli import app

app()
