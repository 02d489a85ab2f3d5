"""Samplers that learn from the other tasks of a table, on a past where LoRA of a high rank is best."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from autodelta.errors import UserError
from autodelta.meta import fitting, policies
from autodelta.meta.on_task import OnTask
from autodelta.meta.problem import Configurations
from autodelta.meta.records import Point, Record, Table, read, write_table
from autodelta.meta.repeats import noise_shares
from autodelta.meta.saved import load
from autodelta.search.pruning import reports, rungs
from autodelta.studies.bench import Axis, Bench, Comparison, compare
from autodelta.studies.pasts import Taught, ranking, taught, transferring
from tests.meta.pasts import QUICK, a_past
from tests.search import fakes


@pytest.fixture(scope="module", autouse=True)
def _quick() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "Settings", lambda: QUICK)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pasts")
    space = fakes.space(folder)
    levels = rungs(space.settings.most_steps)
    past = a_past(space)
    records = tuple(one.model_copy(update={"curve": curve(one, levels)}) for one in past.records)
    return write_table(folder / "table", Table(records=records, tasks=past.tasks, about=past.about))


def curve(record: Record, levels: tuple[int, ...]) -> tuple[Point, ...]:
    """A score at each rung, so that a search can be simulated."""
    end = record.curve[-1]
    return tuple(end.model_copy(update={"step": step}) for step in reports(end.step, levels))


def renamed(table: Table, names: dict[str, str]) -> Table:
    """The same table with other names of tasks."""
    records = tuple(one.model_copy(update={"task": names.get(one.task, one.task)}) for one in table.records)
    tasks = {
        names.get(key, key): one.model_copy(update={"task": names.get(key, key)}) for key, one in table.tasks.items()
    }
    return Table(records=records, tasks=tasks, about=table.about)


@pytest.mark.slow
def test_no_model_has_seen_the_family_of_the_task_that_it_ranks_for(place: Path, tmp_path: Path) -> None:
    table = renamed(read(place), {"task1": "mr", "task2": "sst2@500"})
    found = taught(table, tmp_path, folds=4, seed=0, say=lambda text: None)
    assert found.keys() == {record.task for record in table.records}
    for task, known in found.items():
        seen = set(load(known.model).tasks)
        assert task not in seen
        assert len(seen) >= 4
        assert task not in ("mr", "sst2@500") or not seen & {"mr", "sst2@500"}
        assert known.nearest


def test_what_has_learned_from_other_tasks_finds_good_candidates_sooner_than_chance(place: Path) -> None:
    names = ("random", "meta", "portfolio", "shared", "nearest", "meta-per-second")
    assert set(names[1:]) <= set(transferring())
    said: list[str] = []
    asked = Bench(table=place, samplers=names, pruners=("none",), searches=2, folds=2, full_trials=10)
    found = compare(asked, say=said.append)
    assert [line.split(",")[0] for line in said] == ["fitting 1 of 2 models", "fitting 2 of 2 models"]
    regret = dict(zip(names, found.axes[0].regret.mean(axis=(1, 2)), strict=True))
    assert regret["meta"][4] < regret["random"][4] / 2
    assert regret["shared"][4] < regret["random"][4] / 2
    assert regret["meta-per-second"][4] < regret["random"][4] / 2


def test_a_ranking_hands_over_what_it_believes_in_and_its_rivals_the_best_score(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worst(policy: str, on: OnTask, tried: Configurations) -> int:
        return int(np.argmin(on.beliefs(tried).mean))

    monkeypatch.setattr(policies, "handed_over", worst)
    names = ("meta", "meta-per-second", "shared", "meta-by-score", "portfolio", "random")
    found = compare(Bench(table=place, samplers=names, pruners=("none",), searches=1, folds=2, full_trials=6))
    first, last = found.axes[0].regret[..., 0].mean(axis=(1, 2)), found.axes[0].regret[..., 5].mean(axis=(1, 2))
    assert (last[:3] > first[:3]).all()
    assert (last[3:] <= first[3:]).all()


def test_tasks_that_are_too_few_are_one_line(place: Path, tmp_path: Path) -> None:
    table = read(place)
    kept = {f"task{number}" for number in range(4)}
    few = Table(
        records=tuple(record for record in table.records if record.task in kept),
        tasks={name: table.tasks[name] for name in kept},
        about=table.about,
    )
    folder = write_table(tmp_path / "few", few)
    with pytest.raises(UserError, match=r"needs 4 of them beside each family of the table: \d of \d recorded tasks"):
        compare(Bench(table=folder, samplers=("meta",), pruners=("none",), searches=1))


def test_a_task_on_which_every_trial_failed_is_one_line(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = read(place)
    records = tuple(
        one.model_copy(update={"state": "failed", "curve": (), "test": None}) if one.task == "task0" else one
        for one in table.records
    )
    folder = write_table(tmp_path / "dead", Table(records=records, tasks=table.tasks, about=table.about))
    known = {"task1": Taught(tmp_path, None, ())}  # what failed throughout is no source, and has no entry
    monkeypatch.setattr("autodelta.studies.bench.taught", lambda *given, **named: known)
    with pytest.raises(UserError, match="task 'task0' of the table has no complete trial"):
        compare(Bench(table=folder, samplers=("portfolio",), pruners=("none",), searches=1, folds=2))


def test_a_ranking_by_features_that_a_table_lacks_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'hypernetwork' ranks by a task's features, which the table does not have"):
        ranking("hypernetwork", fakes.space(tmp_path), Taught(tmp_path, None, ()))


# --- benchmarks/meta_on_our_table.py ---------------------------------------------------------------------------------


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("meta_on_our_table")


def test_of_a_table_under_way_only_what_can_be_judged_counts(place: Path, script: ModuleType) -> None:
    table = read(place)
    scarce = [record for record in table.records if record.task == "task3"][script.LEAST - 1 :]
    first = table.of("task4")[0]
    records = tuple(
        record.model_copy(update={"test": None}) if record is first else record
        for record in table.records
        if record not in scarce
    )
    found, left_out = script.judged(Table(records=records, tasks=table.tasks, about=table.about))
    assert left_out == ["task3"]
    assert {record.task for record in found.records} == {record.task for record in table.records} - {"task3"}
    assert len(found.of("task4")) == len(table.of("task4")) - 1


def test_the_script_says_who_is_better_and_how_soon(script: ModuleType) -> None:
    tasks, searches, points = 12, 3, 30
    rng = np.random.default_rng(0)
    methods = len(script.SAMPLERS)
    regret = 0.4 * np.exp(-np.arange(points) / 10) * np.ones((methods, tasks, searches, 1))
    regret = regret + 0.01 * rng.random(regret.shape)
    regret[0] /= 4
    asked = Bench(table=Path("table"), samplers=script.SAMPLERS, pruners=("none",), searches=searches, full_trials=30)
    axis = Axis("trials", np.arange(1.0, points + 1), regret)
    seconds = Axis("seconds", np.arange(1.0, points + 1) / points, regret)
    nothing = np.zeros((methods, tasks, searches))
    compared = Comparison(asked, tuple(map(str, range(tasks))), 30, (axis, seconds), nothing, nothing)
    found = script.answer(compared)
    assert found["p_holm"].keys() == {"tasks", "families"}
    assert all(p < 0.05 for values in found["p_holm"].values() for p in values.values())
    low, high = found["minus_portfolio"]["5"][1:]
    assert low <= found["minus_portfolio"]["5"][0] <= high < 0
    assert found["trials_to_reach_tpe"]["meta"] < 13 < found["trials_to_reach_tpe"]["tpe"]
    assert sum(line.startswith("| tpe |") for line in script.lines(found, "All tasks")) == 2
    assert sum(line.startswith("| tpe, over ") for line in script.lines(found, "All tasks")) == 2
    assert "| @25 | trials to TPE's regret at 25 |" in script.lines(found, "All tasks")[2]
    assert found["regret_by_time"]["meta"]["5"][0] == pytest.approx(regret[0, :, :, 4].mean())
    part = script.on(compared, {"3", "7"})
    assert part.tasks == ("3", "7")
    assert np.array_equal(part.axes[0].regret, regret[:, [3, 7]])
    assert script.answer(part)["tasks"] == 2
    few = Axis("trials", axis.grid[:18], regret[..., :18])
    found = script.answer(Comparison(asked, tuple(map(str, range(tasks))), 18, (few, seconds), nothing, nothing))
    assert "| @18 | trials to TPE's regret at 18 |" in script.lines(found, "All tasks")[2]


def test_p_values_are_adjusted_in_their_order(script: ModuleType) -> None:
    assert script.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])


# --- benchmarks/meta_ablations.py ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_each_part_is_left_out_of_the_same_searches(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    script = importlib.import_module("meta_ablations")
    monkeypatch.setattr(script, "POINTS", (1, 4))
    table = read(place)
    found = script.of_fold(table, 4, 0, 2, 0)
    assert all(parts.keys() == script.PARTS.keys() for parts in found.values())
    whole = np.array([parts["whole"] for parts in found.values()])
    assert whole.shape == (len(found), 2, 4)
    assert ((whole >= 0) & (whole <= 1)).all()
    ends = script.without_curves(script.sources(table))
    assert all(task.points.ended.all() for task in ends.tasks)
    once = script.without_repeats(script.sources(table))
    assert noise_shares(once.tasks) is None
    assert all(set(a.points.rows) == set(b.points.rows) for a, b in zip(once.tasks, ends.tasks, strict=True))
    lines = script.lines(found, list(found), "All tasks")
    assert lines[4].startswith("| whole | ")
    head, *rows = script.rows(found)
    assert head == ["task", "part", "search", "@1", "@4"]
    assert next(row[3:] for row in rows if row[1] == "whole") == [f"{whole[0, 0, at]:.4f}" for at in (0, 3)]
    assert len(rows) == 2 * len(found) * len(script.PARTS)
    assert len(lines) == 4 + len(script.PARTS)
