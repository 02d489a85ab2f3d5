"""The meta-learner: what many tasks have taught, ready to be put on a new one.

    model = fit(sources)                              # autodelta.meta.fitting; about a minute
    save(model, folder); model = load(folder)         # autodelta.meta.saved
    on = model.on({"log_train_rows": 6.2, ...})       # a task's features by name; None: the shared prior alone
    on.observe(configurations, Points.of_ends(rows, scores))
    mean, sd = on.predict(pool)
    low, high = on.interval(pool)
    log_seconds, log_bytes = on.costs(pool).T
    choice = ask("meta", on, pool, tried)             # autodelta.meta.policies; a row of the pool, and why

Whatever cannot be learned from or served raises ``NoTransfer``, whose text is one line for the user: features that are
missing, configurations of another layout, too few tasks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from pydantic import Field

from autodelta.frozen import Frozen
from autodelta.meta.inputs import Inputs
from autodelta.meta.level import Level, Levels
from autodelta.meta.network import Network
from autodelta.meta.on_task import OnTask
from autodelta.meta.plain import Plain
from autodelta.meta.problem import Configurations, Floats, Layout, NoTransfer, known_features
from autodelta.meta.standing import Arm, Standing
from autodelta.meta.training import Settings

OPENINGS = (0, 1, 2, 3)  # numbers of trials that a portfolio of past winners may have before the network has its say
CHANCE = "chance"


@dataclass(frozen=True)
class Noise:
    """What a member has learned of all tasks."""

    tau: float  # how far the scale of its prior mean is open
    sigma: float  # of a seed
    reach: float  # of what is a configuration's own, along the log of the rung


class Found(Frozen):
    """What cross-validation over the sources has found: tasks that the judged members never saw."""

    opening: int | None = 0  # one of OPENINGS; None: the past does not foretell even its own tasks
    regrets: dict[str, list[float]] = Field(default_factory=dict)  # of each opening and CHANCE after 1, 2, ... trials
    widths: dict[int, float] = Field(default_factory=dict)  # factor on a 90 % interval, by the number of trials
    tasks: int = 0


@dataclass(frozen=True)
class Model:
    """A trained model; ``on`` puts it on a task."""

    layout: Layout
    settings: Settings
    inputs: Inputs
    network: Network
    levels: Levels
    plain: Plain
    portfolio: Configurations  # best first, as far as the past goes
    found: Found
    tasks: tuple[str, ...]  # that it has learned from

    @property
    def members(self) -> int:
        return self.network.sizes.members

    @cached_property
    def noises(self) -> list[Noise]:
        """Of every member."""
        logs = zip(self.network.log_tau, self.network.log_noise, self.network.log_reach, strict=True)
        return [Noise(*(float(np.exp(float(log))) for log in member)) for member in logs]

    def on(
        self,
        features: Mapping[str, float] | Floats | None,
        layout: Layout | None = None,
        *,
        arms: Sequence[Arm] | None = None,
        per_second: bool = False,
    ) -> OnTask:
        """The model on a task.

        Args:
            features: by name, or in the order of the layout; None: the shared prior and the plain arm alone.
            layout: of the configurations that it will be asked about; None: its own.
            arms: that may have a say; None: all.
            per_second: whether trials are chosen by what they promise for each device-second, or for each trial.

        Raises:
            NoTransfer: the layout is another one, or a feature is missing.
        """
        if layout is not None:
            self.layout.check(layout)
        if isinstance(features, Mapping):
            features = known_features(self.layout, features)
        if features is not None and not np.isfinite(features).all():
            raise NoTransfer("the task lacks features")
        return OnTask(self, features, arms, per_second=per_second)

    def level(self, features: Floats | None) -> Level:
        """What is believed of a task's offset and scale by its features, in the order of the layout."""
        return self.levels.level(None if features is None else self.inputs.features(features[None])[0].double().numpy())

    def width(self, trials: int) -> float:
        """The factor that intervals need after so many trials."""
        if not self.found.widths:
            return 1.0
        at = sorted(self.found.widths)
        return float(np.interp(trials, at, [self.found.widths[number] for number in at]))

    def standings(
        self, configurations: Configurations, rungs: Floats, features: Floats | None
    ) -> tuple[dict[Arm, list[Standing]], Floats]:
        """What every member of the two arms of the network holds of N points, and their log costs (N, 2)."""
        network, inputs = self.network, self.inputs
        tokens, present = inputs.tokens(configurations)
        with torch.inference_mode():
            settings = torch.cat([inputs.settings(configurations), inputs.rungs(rungs)], dim=1)
            joined, last = network.encoded(tokens, present, settings)
            off = torch.zeros(self.members, 1, network.sizes.embedding)
            embedded: dict[Arm, torch.Tensor] = {"shared": off}
            if features is not None:
                embedded["hypernetwork"] = network.embedded(inputs.features(features[None]))
            priors = {arm: network.prior(joined, last, found) for arm, found in embedded.items()}
        found = {
            arm: [
                Standing(*(part[member, 0].double().numpy() for part in (prior.mean, prior.basis, prior.residual)))
                for member in range(self.members)
            ]
            for arm, prior in priors.items()
        }
        costs = priors["hypernetwork" if features is not None else "shared"].cost[:, 0].mean(dim=0).double().numpy()
        return found, np.asarray(costs * inputs.cost.sd + inputs.cost.mean)
