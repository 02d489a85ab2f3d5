"""How tokens, settings, rungs, features and costs are brought to one scale before the network sees them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from autodelta.meta.problem import Configurations, Floats, Layout, Source, Sources

FAR = 3.0  # standard deviations beyond which features are cut
RUNG_COLUMNS = 2


class Scale(NamedTuple):
    """Mean and standard deviation of columns; those that never change have 1."""

    mean: Floats
    sd: Floats

    @classmethod
    def of(cls, values: Floats) -> "Scale":
        """Of rows, NaN left out; a column that is NaN throughout has no mean, and nothing on it has a value."""
        known = np.isfinite(values)
        number = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known.any(axis=0), np.where(known, values, 0.0).sum(axis=0) / number, np.nan)
        sd = np.sqrt((np.where(known, values - mean, 0.0) ** 2).sum(axis=0) / number)
        return cls(mean, np.where(sd > 1e-9, sd, 1.0))

    def apply(self, values: Floats) -> Floats:
        """The same on a scale of one; what is NaN stays so."""
        return np.asarray((values - self.mean) / self.sd)


def squeezed(features: Floats) -> Floats:
    """Features with long tails, such as counts of rows, act by their order of magnitude."""
    return np.asarray(np.sign(features) * np.log1p(np.abs(features)))


class Inputs(NamedTuple):
    """All scales of a set of sources."""

    layout: Layout
    token: Scale  # the kinds are left as they are
    setting: Scale
    feature: Scale
    cost: Scale  # log seconds, log bytes

    @classmethod
    def of(cls, sources: Sources) -> "Inputs":
        """The scales under which the sources lie around 0 with a spread of 1."""
        found = sources.configurations
        kinds = len(sources.layout.kinds)
        token = Scale.of(found.tokens[found.present])
        token.mean[:kinds], token.sd[:kinds] = 0.0, 1.0
        costs = np.concatenate([raw_costs(task) for task in sources.tasks])
        features = squeezed(np.stack([task.features for task in sources.tasks]))
        return cls(sources.layout, token, Scale.of(found.settings), Scale.of(features), Scale.of(costs))

    def by_features_of(self, tasks: Sequence[Source]) -> "Inputs":
        """The same, but features lie around 0 on these tasks.

        A judge that is asked about tasks left out must not see features whose mean these tasks had a part in: what all
        others have in common then points away from them, and with few tasks and many features the network takes that
        for a constant, whose sign is the other one where it is asked.
        """
        return self._replace(feature=Scale.of(squeezed(np.stack([task.features for task in tasks]))))

    @property
    def token_columns(self) -> int:
        return len(self.token.mean)

    @property
    def setting_columns(self) -> int:
        return len(self.setting.mean) + RUNG_COLUMNS

    def tokens(self, configurations: Configurations) -> tuple[Tensor, Tensor]:
        """Tokens (N, T, columns), and where there is one (N, T)."""
        present = configurations.present[:, :, None]
        return _tensor(self.token.apply(configurations.tokens) * present), _tensor(
            np.asarray(configurations.present, dtype=np.float64)
        )

    def settings(self, configurations: Configurations) -> Tensor:
        """(N, columns), without the rung."""
        return _tensor(self.setting.apply(configurations.settings))

    @staticmethod
    def rungs(rungs: Floats) -> Tensor:
        """Two columns, (N, 2), both 0 at the end of a trial."""
        return _tensor(np.stack([rungs - 1.0, np.log(rungs)], axis=1))

    def features(self, features: Floats) -> Tensor:
        """(tasks, features); 0, the mean, where one is not known."""
        return _tensor(np.nan_to_num(np.clip(self.feature.apply(squeezed(features)), -FAR, FAR)))

    def costs(self, task: Source) -> Floats:
        """(n, 2), NaN where one is not known."""
        return self.cost.apply(raw_costs(task))


def raw_costs(task: Source) -> Floats:
    """Log seconds and log bytes of a task's trials, (n, 2), NaN where one is not known."""
    missing = np.full(len(task.points), np.nan)
    columns = [found if len(found) else missing for found in (task.log_seconds, task.log_bytes)]
    return np.stack(columns, axis=1)


def _tensor(values: Floats) -> Tensor:
    return torch.tensor(np.asarray(values), dtype=torch.float32)
