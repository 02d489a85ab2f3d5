import itertools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest

from autodelta.candidate import Candidate
from autodelta.engine.report import Report
from autodelta.errors import UserError
from autodelta.search import samplers
from autodelta.search.pruning import pruner, rungs
from autodelta.search.records import Outcome, TrialRecord
from autodelta.search.samplers import nsga2
from autodelta.search.storage import FILE, NAME, Disk, quiet
from autodelta.search.study import Study, load_trials, trial_folder
from autodelta.space import Infeasible, Space, Trial
from tests.search import fakes


@contextmanager
def study(folder: Path, sampler: str = "tpe", *, text: str = fakes.SPACE, **given: int) -> Iterator[Study]:
    with quiet():
        made = Study(
            folder, fakes.space(folder, text), sampler=samplers.sampler(sampler), seed=given.get("seed", 3),
            repeats=given.get("repeats", 2),
        )  # fmt: skip
        yield made
        made.close()


def report(step: int, score: float, *, done: bool = False) -> Report:
    return Report(step=step, score=score, train_loss=1.0, device_seconds=step / 10, done=done)


def end_all(study: Study) -> None:
    for number in study.running:
        study.tell(number, Outcome(state="pruned", reason="budget"))


def run_trial(study: Study) -> str | None:
    """Asks and completes one trial; its candidate and seed."""
    asked = study.ask()
    if asked is None:
        return None
    study.report(asked.number, report(10, fakes.score(asked), done=True))
    study.tell(asked.number, Outcome(state="complete"))
    return f"{asked.candidate.key} {asked.seed}"


@pytest.mark.parametrize("name", samplers.names())
def test_a_search_taken_up_again_asks_what_the_uninterrupted_one_would_have(name: str, tmp_path: Path) -> None:
    count = 14 if name == "tpe" else 4
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    with study(tmp_path / "whole", name, text=fakes.FINITE if name == "grid" else fakes.SPACE) as whole:
        asked = [run_trial(whole) for _ in range(count)]
    again = []
    for at in range(0, count, 2 if name == "grid" else 7):
        with study(tmp_path / "parts", name, text=fakes.FINITE if name == "grid" else fakes.SPACE) as part:
            again += [run_trial(part) for _ in range(min(2 if name == "grid" else 7, count - at))]
    assert again == asked
    assert len(set(asked)) > 1


def test_evolution_goes_on_from_the_same_parents_when_it_is_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nsga2, "POPULATION", 6)
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    with study(tmp_path / "whole", "nsga2") as whole:
        asked = [run_trial(whole) for _ in range(24)]
    again = []
    for _ in range(3):
        with study(tmp_path / "parts", "nsga2") as part:
            again += [run_trial(part) for _ in range(8)]
    assert again == asked


@pytest.mark.parametrize("name", samplers.names())
def test_every_sampler_says_in_a_line_what_it_does(name: str) -> None:
    assert samplers.sampler(name).help
    assert "\n" not in samplers.sampler(name).help


def test_an_unknown_sampler_is_one_line() -> None:
    with pytest.raises(UserError, match="unknown sampler 'tpee'; did you mean 'tpe'"):
        samplers.sampler("tpee")


def test_other_seeds_ask_other_candidates(tmp_path: Path) -> None:
    asked = []
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        with study(tmp_path / str(seed), "random", seed=seed) as one:
            asked.append([run_trial(one) for _ in range(4)])
    assert asked[0] != asked[1]


def test_a_trial_can_be_read_back_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    with study(tmp_path) as one:
        asked = one.ask()
        assert asked is not None
        assert one.report(0, report(10, 0.5))
        assert one.report(0, report(20, 0.625, done=True))
        one.tell(0, Outcome(state="complete"))
    (found,) = load_trials(tmp_path)
    assert found.candidate == asked.candidate
    assert found.parameters == asked.candidate.count_parameters(fakes.SHAPE)
    assert found.methods == asked.candidate.methods
    assert (found.state, found.score, found.step, found.device_seconds) == ("complete", 0.625, 20, 2.0)
    assert found.seed == asked.seed


def test_each_trial_ends_as_exactly_what_it_is(tmp_path: Path) -> None:
    with study(tmp_path) as one:
        for state in ("complete", "pruned", "failed", "infeasible"):
            asked = one.ask()
            assert asked is not None
            one.report(asked.number, report(10, 0.5))
            one.tell(asked.number, Outcome.model_validate({"state": state, "reason": "why", "traceback": "where"}))
        assert [trial.state for trial in one.trials()] == ["complete", "pruned", "failed", "infeasible"]
        assert {trial.reason for trial in one.trials()} == {"why"}
    stored = optuna.load_study(study_name=NAME, storage=f"sqlite:///{tmp_path / FILE}").trials
    assert [trial.state.name for trial in stored] == ["COMPLETE", "PRUNED", "FAIL", "PRUNED"]
    assert [bool(trial.constraints) for trial in stored] == [False, False, False, True]
    assert (trial_folder(tmp_path, 2) / "traceback.txt").read_text() == "where"


def test_a_second_outcome_changes_nothing(tmp_path: Path) -> None:
    with study(tmp_path) as one:
        run_trial(one)
        assert one.tell(0, Outcome(state="failed", reason="late")).state == "complete"


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_not_kept(score: float, tmp_path: Path) -> None:
    with study(tmp_path) as one:
        one.ask()
        assert one.report(0, report(10, 0.25))
        assert not one.report(0, report(20, score))
        assert one.tell(0, Outcome(state="failed", reason="nan")).score == 0.25


def test_trials_left_running_by_a_killed_search_are_found_and_can_be_told(tmp_path: Path) -> None:
    with study(tmp_path) as killed:
        run_trial(killed)
        killed.ask()
        killed.report(1, report(10, 0.5))
        killed.ask()
    with study(tmp_path) as one:
        assert one.running == (1, 2)
        end_all(one)
        assert [(t.state, t.reason) for t in one.trials()] == [("complete", ""), *[("pruned", "budget")] * 2]
        assert one.running == ()
        assert one.trials()[1].score == 0.5


def test_a_value_that_a_kill_parted_from_its_curve_stays_and_is_not_warned_of(tmp_path: Path) -> None:
    with study(tmp_path) as killed, pytest.MonkeyPatch.context() as patch:
        killed.ask()
        patch.setattr(Disk, "attribute", lambda disk, number, key, value: None)
        killed.report(0, report(10, 0.5))
    with study(tmp_path) as one, warnings.catch_warnings():
        assert one.trial(0).curve == ()
        warnings.simplefilter("error", UserWarning)
        one.report(0, report(10, 0.5))
        assert one.trial(0).score == 0.5
        end_all(one)


def test_a_trial_that_a_crash_kept_from_ending_has_no_reason_left_of_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(disk: Disk, trial: object) -> None:
        raise OSError("No space left on device")

    with study(tmp_path) as crashed, monkeypatch.context() as patch:
        crashed.ask()
        patch.setattr(Disk, "end", full)
        with pytest.raises(OSError, match="No space left"):
            crashed.tell(0, Outcome(state="failed", reason="out of memory"))
    with study(tmp_path) as one:
        one.report(0, report(10, 0.5, done=True))
        assert one.tell(0, Outcome(state="complete")).reason == ""


def test_a_study_can_be_read_while_it_is_written_and_where_nothing_can_be(tmp_path: Path) -> None:
    with study(tmp_path) as one:
        run_trial(one)
        one.ask()
        assert [trial.state for trial in load_trials(tmp_path)] == ["complete", "running"]
        end_all(one)
    assert sorted(path.name for path in tmp_path.glob("study.db*")) == ["study.db"]  # no log beside it: one whole file
    assert len(load_trials(tmp_path)) == 2


def test_infeasible_candidates_are_recorded_and_never_given_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suggest = Space.suggest

    def refuse_pairs(space: Space, trial: Trial) -> Candidate:
        candidate = suggest(space, trial)
        if len(candidate.methods) > 1:
            raise Infeasible("too many methods", parameters=77, cap=None)
        return candidate

    monkeypatch.setattr(Space, "suggest", refuse_pairs)
    rejected: list[TrialRecord] = []
    with study(tmp_path, "random") as one:
        one.on_rejected = rejected.append
        asked = [one.ask() for _ in range(6)]
        assert all(given is not None and len(given.candidate.methods) == 1 for given in asked)
        assert rejected
        assert [trial for trial in one.trials() if trial.state == "infeasible"] == rejected
        assert {(t.reason, t.parameters, t.candidate, t.seed) for t in rejected} == {
            ("too many methods", 77, None, None)
        }


@pytest.mark.parametrize("writes", range(4))
def test_no_infeasible_candidate_is_left_running_whenever_the_search_is_killed(
    writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever took the search up would find nothing to train in it."""
    passed = itertools.count()

    def killed(plain: Callable[..., None]) -> Callable[..., None]:
        def write(*args: object) -> None:
            if next(passed) == writes:
                raise KeyboardInterrupt
            plain(*args)

        return write

    def refuse(space: Space, trial: Trial) -> Candidate:
        raise Infeasible("nothing fits", parameters=0, cap=None)

    monkeypatch.setattr(Space, "suggest", refuse)
    for name in ("start", "attribute", "end"):
        monkeypatch.setattr(Disk, name, killed(getattr(Disk, name)))
    with study(tmp_path, "random") as one, pytest.raises(KeyboardInterrupt):
        one.ask()
    with study(tmp_path) as again:
        assert again.running == ()
        assert {trial.state for trial in again.trials()} <= {"infeasible"}
        assert {(trial.reason, trial.seed) for trial in again.trials()} <= {("nothing fits", None)}


def test_a_space_of_nothing_but_infeasible_candidates_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(space: Space, trial: Trial) -> Candidate:
        raise Infeasible("nothing fits", parameters=0, cap=None)

    monkeypatch.setattr(Space, "suggest", refuse)
    monkeypatch.setattr("autodelta.search.study.REJECTIONS_IN_A_ROW", 5)
    with study(tmp_path, "random") as one, pytest.raises(UserError, match="5 candidates in a row broke a constraint"):
        one.ask()


def test_the_grid_is_walked_once_a_repeat_and_then_ends(tmp_path: Path) -> None:
    with study(tmp_path, "grid", text=fakes.FINITE, repeats=2) as one:
        asked = [run_trial(one) for _ in range(7)]
        assert asked[6] is None
        keys = [pair.split()[0] for pair in asked if pair]
        assert keys[:3] == keys[3:]
        assert len(set(keys)) == 3
        assert len({pair.split()[1] for pair in asked if pair}) == 6
    params = [
        trial.params for trial in optuna.load_study(study_name=NAME, storage=f"sqlite:///{tmp_path / FILE}").trials
    ]
    space = fakes.space(tmp_path, fakes.FINITE)
    assert [space.from_params(given).key for given in params] == keys


def test_the_grid_of_an_endless_space_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError), study(tmp_path, "grid"):
        pass


@pytest.mark.parametrize("name", ["random", "tpe", "nsga2"])
def test_no_two_trials_have_one_seed_where_a_finite_space_gives_candidates_twice(name: str, tmp_path: Path) -> None:
    with study(tmp_path, name, text=fakes.FINITE) as one:
        asked = [(run_trial(one) or "").split() for _ in range(9)]
    assert len({seed for _, seed in asked}) == 9
    assert len({key for key, _ in asked}) < 9


def test_a_seed_that_was_cut_short_before_its_first_report_is_trained_and_no_other_twice(tmp_path: Path) -> None:
    with study(tmp_path, "grid", text=fakes.FINITE, repeats=2) as one:
        first = one.ask()
        seeds = [pair.split()[1] for pair in iter(lambda: run_trial(one), None)]
        assert first is not None
        one.tell(first.number, Outcome(state="pruned", reason="budget"))
        again = one.ask()
        assert again is not None
        assert (again.candidate, again.seed) == (first.candidate, first.seed)
        assert str(first.seed) not in seeds


def test_nsga2_minimises_parameters_too_and_keeps_steps_and_scores(tmp_path: Path) -> None:
    with study(tmp_path, "nsga2") as one:
        run_trial(one)
        one.ask()
        assert one.report(1, report(10, 0.5))
        one.tell(1, Outcome(state="pruned", reason="budget"))
        assert [(t.state, t.step) for t in one.trials()] == [("complete", 10), ("pruned", 10)]
        parameters = one.trials()[0].parameters
    stored = optuna.load_study(study_name=NAME, storage=f"sqlite:///{tmp_path / FILE}")
    assert [direction.name for direction in stored.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert stored.trials[0].values[1] == parameters


@pytest.mark.parametrize(("name", "all_of_them"), [("tpe", True), ("gp", False), ("nsga2", False)])
def test_a_sampler_that_learns_only_what_every_trial_has_says_so(name: str, all_of_them: bool, tmp_path: Path) -> None:
    space, found = fakes.space(tmp_path), samplers.sampler(name)
    assert found.build is not None
    with quiet():
        asking = optuna.create_study(directions=["maximize", "minimize"][: 1 + found.two_directions])
        for number in range(12):
            asked = asking.ask()
            size = space.suggest(asked).count_parameters(space.shape)
            asking.tell(asked, [0.1 * number, size][: len(asking.directions)])
        sampler = found.build(0, samplers.Scene(space))
        learned = sampler.infer_relative_search_space(asking, asking.trials[-1])
    assert ("lora.rank" in learned) is all_of_them
    assert ("every trial has" in found.help) is not all_of_them


def test_another_process_that_writes_is_noticed(tmp_path: Path) -> None:
    with study(tmp_path) as one, study(tmp_path) as other:
        one.ask()
        with pytest.raises(UserError, match=r"another program writes to the study .*: expected trial 0, got 1"):
            other.ask()


@pytest.mark.parametrize("waits", [True, False])
def test_a_trial_that_another_program_left_in_the_study_is_passed_over(waits: bool, tmp_path: Path) -> None:
    with study(tmp_path) as one:
        run_trial(one)
    with quiet():
        theirs = optuna.load_study(study_name=NAME, storage=f"sqlite:///{tmp_path / FILE}")
        theirs.enqueue_trial({"lora": True}) if waits else theirs.ask()
    with study(tmp_path) as again:
        assert again.running == ()
        run_trial(again)
    assert [trial.state for trial in load_trials(tmp_path)] == ["complete", "failed", "complete"]


def test_a_rung_that_was_passed_is_not_judged_anew_when_a_trial_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """Its worker may have died long after, when others have come to the rung with better scores."""
    space = fakes.space(tmp_path, fakes.FINITE)
    first, second, *_ = rungs(40)

    def opened() -> Study:
        halving = pruner("asha", rungs(40))
        return Study(tmp_path, space, sampler=samplers.sampler("random"), seed=3, pruner=halving)

    with quiet():
        one = opened()
        numbers = [asked.number for asked in (one.ask() for _ in range(4)) if asked is not None]
        passes = [one.report(numbers[0], report(step, 0.1)) for step in (first, second)]
        for number in numbers[1:]:
            for step in (first, second):
                one.report(number, report(step, 0.9))
        assert [*passes, one.report(numbers[0], report(second, 0.1))] == [True] * 3
        one.close()
        again = opened()
        assert again.report(numbers[0], report(second, 0.1))
        again.close()
