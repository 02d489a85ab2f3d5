"""Tasks: rows, a text-to-text view of them, labels and a metric. Nothing heavy is imported before rows are read."""

from autodelta.tasks.catalogue import TaskInfo, available, load
from autodelta.tasks.columns import Columns
from autodelta.tasks.task import SPLITS, Example, Task
from autodelta.tasks.view import View

__all__ = ["SPLITS", "Columns", "Example", "Task", "TaskInfo", "View", "available", "load"]
