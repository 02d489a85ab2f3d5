"""The loggers that Ray Tune brings, which `--log` names; Ray is not loaded for looking at them."""

import importlib.util

from autodelta.errors import UserError, one_of

# What each imports, and the extra of autodelta's that brings it.
LOGGERS = {"tensorboard": ("tensorboardX", "ray"), "mlflow": ("mlflow", "mlflow"), "wandb": ("wandb", "wandb")}


def names(text: str) -> tuple[str, ...]:
    """The loggers that a text names, divided by commas.

    Raises:
        UserError: there is no such logger.
    """
    found = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in found:
        if name not in LOGGERS:
            raise one_of("logger", name, tuple(LOGGERS))
    return found


def check(log: tuple[str, ...]) -> None:
    """Looks whether what the loggers need is installed.

    Raises:
        UserError: it is not.
    """
    for name in log:
        module, extra = LOGGERS[name]
        if importlib.util.find_spec(module) is None:
            raise UserError(f"the logger {name!r} needs {module}: pip install 'autodelta[{extra}]'")
