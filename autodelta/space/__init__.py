"""Search spaces: a YAML file, bound to a backbone, gives candidates; without torch or Optuna."""

from autodelta.space._domain import Trial as Trial
from autodelta.space._shipped import SpaceInfo as SpaceInfo
from autodelta.space._shipped import describe as describe
from autodelta.space._shipped import find as find
from autodelta.space._shipped import names as names
from autodelta.space._space import Infeasible as Infeasible
from autodelta.space._space import Space as Space

__all__ = ["Infeasible", "Space", "SpaceInfo", "Trial", "describe", "find", "names"]
