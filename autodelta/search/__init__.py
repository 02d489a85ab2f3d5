"""The search: study, samplers, budget, executors, and the folder that a run leaves behind.

``autodelta.search`` is this package and, called, the function that searches: importing a package's module sets the
package's attribute of that name, so the two cannot be kept apart.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autodelta.search.request import search as search
    from autodelta.search.resuming import resume as resume
    from autodelta.search.run import Run as Run
    from autodelta.search.run import open_run as open_run

__all__ = ["Run", "open_run", "resume", "search"]

_HOME = {"Run": "run", "open_run": "run", "resume": "resuming", "search": "request"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


class _CallableModule(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.search(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
