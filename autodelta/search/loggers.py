"""The loggers that Ray Tune brings, which `--log` names; Ray is not loaded for looking at them."""

import importlib.util

from autodelta.errors import UserError, one_of

# What each imports, and the extra of autodelta's that brings it.
LOGGERS = {"tensorboard": ("tensorboardX", "ray"), "mlflow": ("mlflow", "mlflow"), "wandb": ("wandb", "wandb")}


def chosen(text: str) -> tuple[str, ...]:
    """The loggers that a text names, divided by commas.

    Raises:
        UserError: there is no such logger, or what it needs is not installed.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in LOGGERS:
            raise one_of("logger", name, tuple(LOGGERS))
        module, extra = LOGGERS[name]
        if importlib.util.find_spec(module) is None:
            raise UserError(f"the logger {name!r} needs {module}: pip install 'autodelta[{extra}]'")
    return names
