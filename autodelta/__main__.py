"""``python -m autodelta`` is ``autodelta``."""

from autodelta.cli import app

app(prog_name="autodelta")
