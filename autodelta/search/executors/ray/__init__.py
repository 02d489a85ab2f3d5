"""Workers as Ray actors, placed by Ray Tune, on this machine or a cluster. Nothing outside this folder imports Ray."""

from autodelta.search.executors.ray.executor import RayTune

__all__ = ["RayTune"]
