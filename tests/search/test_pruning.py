"""Which trials stop at a rung: by score and log-loss together, with the exceptions that the module names."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from autodelta.search.pruning import Halving, Standings, reports, rungs
from autodelta.space import Space
from autodelta.space._trials import RandomTrial
from tests.search import fakes

LEVELS = (10, 30, 90)
BEYOND = 99


def trial(
    number: int,
    values: Sequence[float],
    *,
    losses: Sequence[float] | None = None,
    methods: Sequence[str] = ("lora",),
    state: TrialState = TrialState.PRUNED,
    **known: Any,
) -> FrozenTrial:
    """A trial with a value at each of the first levels."""
    curve = [
        {"step": step, "score": value, "log_loss": None if losses is None else losses[at]}
        for at, (step, value) in enumerate(zip(LEVELS, values, strict=False))
    ]
    made = optuna.trial.create_trial(
        state=state,
        value=values[-1] if state == TrialState.COMPLETE else None,
        intermediate_values=dict(zip(LEVELS, values, strict=False)),
        user_attrs={"methods": list(methods), "curve": curve, **known},
    )
    made.number = number
    return made


def passing(trials: Sequence[FrozenTrial], rung: int = 0, *, brackets: int = 1) -> list[int]:
    """The numbers of those that may go on, without that of `gone_beyond`."""
    found = Standings(Halving(LEVELS, brackets=brackets), trials)
    return [one.number for one in trials if one.number != BEYOND and found.passes(one, rung)]


def gone_beyond(*methods: str) -> FrozenTrial:
    """A bad trial of these methods that has ended, so that none is the first of its method."""
    return trial(BEYOND, (0.0, 0.0, 0.0), losses=(9.0, 9.0, 9.0), methods=methods, state=TrialState.COMPLETE)


def test_rungs_fall_by_thirds_to_the_end_of_the_warm_up() -> None:
    assert rungs(250) == (28, 84, 250)
    assert rungs(90) == (10, 30, 90)
    assert rungs(1) == (1,)
    assert rungs(10) == (1, 2, 4, 10)  # at the end of the warm-up trials are compared
    assert reports(100, rungs(250)) == (28, 84, 100)
    assert reports(84, rungs(250)) == (28, 84)


def test_a_third_goes_on_by_score_where_there_is_no_log_loss() -> None:
    some = [trial(number, (score,)) for number, score in enumerate((0.5, 0.9, 0.7, 0.1, 0.8))]
    assert passing([*some, gone_beyond("lora")]) == [1, 4]


def test_of_equals_all_go_on() -> None:
    some = [trial(number, (0.5,)) for number in range(5)]
    assert passing([*some, gone_beyond("lora")]) == [0, 1, 2, 3, 4]


def test_score_and_log_loss_count_alike() -> None:
    """The second is the best by score and the worst by loss, the third good by both."""
    scores, losses = (0.5, 0.60, 0.59, 0.58), (1.0, 2.0, 0.5, 0.6)
    some = [trial(n, (score,), losses=(loss,)) for n, (score, loss) in enumerate(zip(scores, losses, strict=True))]
    assert passing([*some, gone_beyond("lora")]) == [2]
    without = trial(4, (0.1,))  # one trial that has no log-loss: then only the score says something
    assert passing([*some, without, gone_beyond("lora")]) == [1, 2]


def test_the_log_loss_tells_trials_apart_whose_scores_are_equal() -> None:
    some = [trial(number, (0.5,), losses=(loss,)) for number, loss in enumerate((0.9, 0.7, 0.8, 0.6))]
    assert passing([*some, gone_beyond("lora")]) == [3]


def test_slow_starters_are_compared_a_rung_later() -> None:
    others = [trial(number, (0.9, 0.9)) for number in range(5)]
    slow = trial(5, (0.1, 0.1), methods=("prompt",))
    mixed = trial(6, (0.1, 0.1), methods=("prompt", "lora"))
    every = [*others, slow, mixed, gone_beyond("lora", "prompt")]
    assert 5 in passing(every)
    assert 6 not in passing(every)
    assert 5 not in passing(every, rung=1)


def test_the_first_of_a_method_is_let_beyond_the_first_rung_alone() -> None:
    others = [trial(number, (0.9, 0.9, 0.9), state=TrialState.COMPLETE) for number in range(5)]
    first = trial(5, (0.1, 0.1), methods=("bitfit",))
    assert 5 in passing([*others, first])
    assert 5 not in passing([*others, first], rung=1)
    failed = trial(6, (0.2,), methods=("bitfit",), state=TrialState.FAIL)
    assert 5 in passing([*others, first, failed])
    running = trial(6, (0.2,), methods=("bitfit",), state=TrialState.RUNNING)
    assert 5 not in passing([*others, first, running])
    beyond = trial(6, (0.2, 0.1), methods=("bitfit",))
    assert 5 not in passing([*others, first, beyond])


def test_values_of_the_trial_that_one_goes_on_with_count_once() -> None:
    stopped = trial(0, (0.5, 0.5))
    going_on = trial(1, (0.5, 0.5, 0.6), continues=0, began_at=30, state=TrialState.RUNNING)
    some = [trial(number, (score, score)) for number, score in ((2, 0.4), (3, 0.3), (4, 0.6), (5, 0.2))]
    assert passing([stopped, going_on, *some], rung=1) == [4]  # one of five, where of six it would be two
    assert passing([stopped, going_on, *some], rung=2) == [1]


def test_a_trial_that_goes_on_stays_in_the_bracket_of_the_first() -> None:
    halving = Halving(LEVELS, brackets=3)
    late = next(number for number in range(90) if halving.bracket(number) == 1)
    other = next(number for number in range(late + 1, 90) if halving.bracket(number) == 0)
    rivals = [trial(number, (0.9, 0.9), methods=()) for number in range(100, 190)]
    first = trial(late, (0.1,), methods=())
    going_on = trial(other, (0.1,), methods=(), continues=late, began_at=0)
    passes = Standings(halving, [*rivals, first, going_on]).passes
    assert passes(first, 0)
    assert passes(going_on, 0)
    assert other not in passing([*rivals, first, trial(other, (0.1,), methods=())], brackets=3)


def test_the_pruner_works_in_a_study_that_keeps_no_attributes() -> None:
    rng = np.random.default_rng(0)

    def objective(asked: optuna.Trial) -> float:
        quality = asked.suggest_float("x", 0, 1)
        for step in LEVELS:
            asked.report(quality + 0.01 * float(rng.normal()), step)
            if asked.should_prune():
                raise optuna.TrialPruned
        return quality

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize", pruner=Halving(LEVELS), sampler=optuna.samplers.RandomSampler(seed=0)
    )
    study.optimize(objective, n_trials=60)
    by_state = {state: len(study.get_trials(states=(state,))) for state in (TrialState.COMPLETE, TrialState.PRUNED)}
    assert by_state[TrialState.COMPLETE] < 20
    assert sum(by_state.values()) == 60
    assert study.best_params["x"] == pytest.approx(max(one.params["x"] for one in study.trials), abs=0.05)


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1), ("minimize", -1)])
def test_the_best_go_on_in_a_study_of_either_direction(direction: str, sign: int) -> None:
    study = optuna.create_study(direction=direction, pruner=Halving(LEVELS))
    stopped = {}
    for score in (0.5, 0.9, 0.1, 0.8, 0.95, 0.2):
        asked = study.ask()
        asked.report(sign * score, LEVELS[0])
        stopped[score] = asked.should_prune()
    assert stopped == {0.5: False, 0.9: False, 0.1: True, 0.8: True, 0.95: False, 0.2: True}


def test_no_trial_stops_at_the_last_rung_or_between_two() -> None:
    study = optuna.create_study(direction="maximize", pruner=Halving(LEVELS))
    for score in (0.9, 0.1):
        asked = study.ask()
        for step in (LEVELS[0] + 1, LEVELS[-1]):
            asked.report(score, step)
            assert not asked.should_prune()


def test_a_value_that_is_no_number_stops_its_own_trial_alone() -> None:
    study = optuna.create_study(direction="maximize", pruner=Halving(LEVELS))
    stopped = []
    for score in (float("nan"), 0.5, 0.7, 0.9, 0.1):
        asked = study.ask()
        asked.report(score, LEVELS[0])
        stopped.append(asked.should_prune())
    assert stopped == [True, False, False, False, True]


def test_brackets_that_begin_later_stop_nobody_before() -> None:
    every = [trial(number, (number / 100, number / 100), methods=()) for number in range(90)]
    halving = Halving(LEVELS, brackets=3)
    late = [one.number for one in every if halving.bracket(one.number) == 1]
    assert 0 < len(late) < 45
    assert set(late) <= set(passing(every, brackets=3))
    assert len(set(late) & set(passing(every, 1, brackets=3))) < len(late) / 2


def test_every_bracket_has_trials_with_a_cap_and_without() -> None:
    """Sizes would be compared within a bracket, and not with each other, if small candidates had one of their own."""
    space = Space.of_text(fakes.SPACE, fakes.SHAPE, name="three methods")
    halving = Halving(LEVELS, brackets=3)
    capped: dict[int, list[bool]] = {}
    for number in range(400):
        asked = RandomTrial(np.random.default_rng(number), number)
        space.suggest(asked)
        capped.setdefault(halving.bracket(number), []).append(asked.user_attrs["cap"] is not None)
    shares = [np.mean(capped[bracket]) for bracket in range(3)]
    assert max(shares) - min(shares) < 0.1
