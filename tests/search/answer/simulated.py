"""Candidates of known worth: what the search and the confirmation of them would give, drawn at a seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from autodelta.candidate import Candidate
from autodelta.search.answer import Confirmed, Entrant, next_run
from autodelta.search.answer.race import Left

LORA = {"method": "lora", "roles": ["encoder.self_attn.q"], "config": {"rank": 2}}
BITFIT = {"method": "bitfit", "roles": ["encoder.self_attn.q"]}
FULL = {"method": "full", "roles": ["encoder.self_attn.q"]}


def candidate(number: int, *deltas: dict[str, object]) -> Candidate:
    """No two numbers give the same one."""
    rate = 1e-3 + number * 1e-6
    return Candidate.model_validate(
        {
            "deltas": [{**delta, "learning_rate": rate} for delta in deltas or (BITFIT,)],
            "training": {"steps": 40, "batch_size": 8},
        }
    )


def finalist(number: int, *deltas: dict[str, object], **more: object) -> Entrant:
    """A finalist; the larger its number, the more parameters."""
    given = {
        "name": f"finalist {number}",
        "kind": "finalist",
        "candidate": candidate(number, *deltas),
        "parameters": 100 * (number + 1),
        "trial": number,
    }
    return Entrant.model_validate({**given, **more})


def baseline(rival: str, number: int) -> Entrant:
    """A baseline at one learning rate."""
    method = LORA if rival == "lora" else FULL
    return Entrant.model_validate(
        {
            "name": f"{rival} {number}",
            "kind": "baseline",
            "candidate": candidate(1000 + number, method),
            "parameters": 50,
            "rival": rival,
        }
    )


@dataclass
class World:
    """True scores by entrant, and how runs scatter around them: each by itself, and all at one seed alike."""

    worth: dict[str, float]  # on validation, and on test where nothing else is said
    seed: int
    sd: float = 0.01
    sds: dict[str, float] = field(default_factory=dict)  # of those that scatter otherwise
    shared_sd: float = 0.005
    correlation: float = 0.5  # of a run's luck on validation and on test
    test_worth: dict[str, float] = field(default_factory=dict)
    seconds: float = 1.0

    def run(self, entrant: Entrant, seed_index: int) -> Confirmed:
        """The same run is always the same."""
        name = entrant.name
        rng = np.random.default_rng([self.seed, seed_index, *name.encode()])
        common = np.random.default_rng([self.seed, seed_index]).normal(0, self.shared_sd)
        luck, other = rng.normal(0, self.sds.get(name, self.sd), 2)
        on_test = self.correlation * luck + (1 - self.correlation**2) ** 0.5 * other
        return Confirmed(
            entrant=name,
            candidate=entrant.candidate,
            seed_index=seed_index,
            seed=seed_index,
            validation=self.worth[name] + common + luck,
            test=self.test_worth.get(name, self.worth[name]) + common + on_test,
            device_seconds=self.seconds,
        )

    def race(self, entrants: Sequence[Entrant], *, runs: int) -> list[Confirmed]:
        """What a confirmation of so many runs gives."""
        return list(self.steps(entrants, runs=runs))

    def steps(self, entrants: Sequence[Entrant], *, runs: int) -> Iterator[Confirmed]:
        """Its runs, one by one."""
        results: list[Confirmed] = []
        while (wanted := next_run(entrants, results, Left(runs=runs - len(results)))) is not None:
            results.append(self.run(*wanted))
            yield results[-1]
