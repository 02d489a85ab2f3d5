import csv
import errno
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from typer.testing import CliRunner

from autodelta.cli import app
from autodelta.errors import UserError
from autodelta.meta.records import Table, read, write_table
from autodelta.studies import regret
from autodelta.studies.bench import Bench, Comparison, compare
from tests.search import fakes, tables
from tests.search.test_table import WIDE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    write_table(folder / "table", tables.a_table(fakes.space(folder, WIDE), number=24, noise=0.003))
    return folder


def a_bench(place: Path, **changes: object) -> Bench:
    given = {
        "table": place / "table",
        "samplers": ("random", "tpe"),
        "pruners": ("none", "asha"),
        "searches": 3,
        **changes,
    }
    return Bench.model_validate(given)


@pytest.fixture(scope="module")
def compared(place: Path) -> Comparison:
    return compare(a_bench(place))


def test_regret_is_that_of_the_mean_test_score_over_repeats_and_never_of_what_was_chosen_by(tmp_path: Path) -> None:
    space = fakes.space(tmp_path, WIDE)
    lucky, good, bad = (tables.a_record(space, candidate) for candidate in tables.candidates(space, 3))

    def scored(record: object, score: float, tests: list[float]) -> list[object]:
        found = []
        for repeat, test in enumerate(tests):
            curve = [point.model_copy(update={"score": score if repeat == 0 else 0.1}) for point in record.curve]  # type: ignore[attr-defined]
            changes = {"curve": tuple(curve), "test": test, "repeat": repeat}
            found.append(record.model_copy(update=changes))  # type: ignore[attr-defined]
        return found

    records = (*scored(lucky, 0.99, [0.9, 0.3, 0.3]), *scored(good, 0.8, [0.7]), *scored(bad, 0.2, [0.2]))
    table = tables.a_table(space, number=1)
    write_table(tmp_path / "table", Table(records=records, tasks={}, about=table.about))  # type: ignore[arg-type]
    found = compare(a_bench(tmp_path, samplers=("random",), pruners=("none",), searches=1, full_trials=3))
    assert found.axes[0].regret[0, 0, 0, -1] == pytest.approx((0.7 - 0.5) / (0.7 - 0.2))


def test_curves_start_at_the_worst_and_end_where_all_candidates_have_been_tried(
    place: Path, compared: Comparison
) -> None:
    trials, steps, seconds = compared.axes
    assert (trials.name, steps.name, seconds.name) == ("trials", "steps", "seconds")
    assert trials.regret.shape == (4, 2, 3, 24)
    assert steps.regret.shape == (4, 2, 3, 40)
    assert (seconds.regret[..., 0] == 1).all()
    assert ((trials.regret >= 0) & (trials.regret <= 1)).all()
    assert compared.full_trials == (12, 12)
    assert compared.ended[0].mean() < compared.ended[1].mean()  # pruning leaves room for more trials
    assert (compared.steps <= 1.1).all()
    everything = compare(
        a_bench(place, samplers=("random", "tpe", "gp"), pruners=("none",), full_trials=40, searches=1)
    )
    last = everything.axes[0].regret[..., -1]
    assert (last == last[0]).all()


def test_the_first_trials_are_the_same_for_every_sampler(compared: Comparison) -> None:
    regrets = compared.axes[0].regret
    np.testing.assert_array_equal(regrets[0, ..., :8], regrets[2, ..., :8])
    assert not np.array_equal(compared.steps[1], compared.steps[3])


@pytest.mark.slow
def test_processes_find_what_one_process_finds(place: Path, compared: Comparison) -> None:
    assert list(compare(a_bench(place, jobs=2)).rows()) == list(compared.rows())


THREE = ("a", "b", "c")  # tasks, each a family


def test_intervals_hold_the_mean_and_are_wider_with_fewer_searches() -> None:
    values = np.random.default_rng(0).random((2, 3, 100, 5))
    wide = regret.band(values[:, :, :10], regret.resampled(THREE, 10))
    narrow = regret.band(values, regret.resampled(THREE, 100))
    assert ((narrow.low < narrow.mean) & (narrow.mean < narrow.high)).all()
    assert ((wide.high - wide.low) > 1.5 * (narrow.high - narrow.low)).all()
    # Where tasks differ and searches do not, the interval is that of a mean of tasks drawn again.
    same = np.broadcast_to(np.array([0.0, 0.5, 1.0])[None, :, None, None], (1, 3, 100, 1))
    band = regret.band(same, regret.resampled(THREE, 100))
    assert band.low[0, 0] == pytest.approx(1 / 6, abs=0.17)
    assert band.high[0, 0] == pytest.approx(5 / 6, abs=0.17)


def test_tasks_of_one_family_are_drawn_together() -> None:
    weights = regret.resampled(["a", "b", "a", "a"], 2)
    np.testing.assert_allclose(weights.sum(axis=(1, 2)), 1)
    by_task = weights.sum(axis=2)
    np.testing.assert_allclose(by_task[:, 0], by_task[:, 2])
    np.testing.assert_allclose(by_task[:, 0], by_task[:, 3])
    assert set(np.round(by_task[:, 1], 6)) == {0.0, 0.25, 1.0}  # neither, both or b alone was drawn


def test_ranks_are_shared_by_equals() -> None:
    regrets = np.array([0.1, 0.1, 0.3]).reshape(3, 1, 1, 1)
    assert regret.ranks(regrets).ravel().tolist() == [1.5, 1.5, 3.0]


def test_a_search_is_worth_nothing_until_it_has_something_to_hand_over() -> None:
    assert regret.held([2, 5], [0.4, 0.1], [1, 2, 4, 5, 9]).tolist() == [1.0, 0.4, 0.4, 0.1, 0.1]
    assert regret.held([], [], [1, 2]).tolist() == [1.0, 1.0]


def test_the_command_prints_a_table_and_json_and_writes_every_curve(place: Path) -> None:
    words = ["bench", "--table", str(place / "table"), "--searches", "2"]
    words += ["--samplers", "random, tpe", "--pruners", "asha"]
    shown = CliRunner().invoke(app, [*words, "--to", str(place / "curves.csv")], catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    assert "tpe" in shown.stdout
    with (place / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (24 + 2 * 40)
    printed = json.loads(CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False).stdout)
    assert [float(row["regret"]) for row in rows] == [row["regret"] for row in printed["curves"]]
    assert printed["trials_a_search"].keys() == {"random+asha", "tpe+asha"}
    assert printed["tasks"] == ["one", "two"]


def test_what_a_search_may_spend_is_said_for_each_task_where_they_have_unlike_many_candidates(tmp_path: Path) -> None:
    whole = tables.a_table(fakes.space(tmp_path, WIDE), number=24, noise=0.003)
    few = [record for record in whole.of("two") if record.repeat == 0][:6]
    records = (*whole.of("one"), *few)
    write_table(tmp_path / "table", Table(records=records, tasks={}, about=whole.about))
    words = ["bench", "--table", str(tmp_path / "table"), "--searches", "1", "--samplers", "random"]
    words += ["--pruners", "none"]
    shown = CliRunner().invoke(app, words, catch_exceptions=False)
    assert "the device-seconds of 3 to 12 average trials, by task" in " ".join(shown.stdout.split())
    printed = json.loads(CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False).stdout)
    assert printed["full_trials"] == [12, 3]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--samplers", " , "], "a bench needs a sampler or more: none is named; for example random,tpe"),
        (["--pruners", ""], "a bench needs a pruner or more: none is named; for example none,asha"),
        (["--to", "missing/curves.csv"], "there is no folder 'missing'"),
        (["--to", "."], "--to names a file for the curves: '.' is a folder"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_simulated(
    options: list[str], said: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autodelta.studies.bench._compared", lambda *given: pytest.fail("a search was simulated"))
    shown = CliRunner().invoke(app, ["bench", "--table", str(place / "table"), *options], catch_exceptions=False)
    assert shown.exit_code == 2
    assert said in shown.stderr
    assert len(shown.stderr.splitlines()) == 1


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_simulated(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autodelta.studies.bench._compared", lambda *given: pytest.fail("a search was simulated"))
    monkeypatch.setattr("autodelta.files.os.access", lambda path, mode: path != tmp_path)
    words = ["bench", "--table", str(place / "table"), "--to", str(tmp_path / "curves.csv")]
    shown = CliRunner().invoke(app, words, catch_exceptions=False)
    assert shown.exit_code == 2
    assert shown.stderr == f"error: --to names a file for the curves: the folder {str(tmp_path)!r} cannot be written\n"


def test_curves_that_cannot_be_written_cost_no_result(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, write: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("autodelta.files.write_whole", full)
    words = ["bench", "--table", str(place / "table"), "--searches", "1", "--samplers", "random", "--pruners", "none"]
    shown = CliRunner().invoke(app, [*words, "--to", str(tmp_path / "curves.csv")], catch_exceptions=False)
    assert shown.exit_code == 2
    assert "random" in shown.stdout
    assert "cannot write the curves to" in shown.stderr
    assert len(shown.stderr.splitlines()) == 1


def test_mistakes_are_one_line(place: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown sampler 'tep'; did you mean 'tpe'\?"):
        compare(a_bench(place, samplers=("tep",)))
    with pytest.raises(
        UserError, match=r"unknown sampler 'portfolo'; did you mean 'portfolio'\? choose from: gp, hyper"
    ):
        compare(a_bench(place, samplers=("portfolo",)))
    with pytest.raises(UserError, match=r"--jobs is at most \d+ here, 8 for each CPU: 99999"):
        compare(a_bench(place, jobs=99999))
    with pytest.raises(UserError, match=r"the sampler 'nsga2' cannot rank recorded candidates"):
        compare(a_bench(place, samplers=("nsga2",)))
    with pytest.raises(UserError, match=r"unknown pruner 'median'"):
        compare(a_bench(place, pruners=("median",)))
    with pytest.raises(UserError, match=r"lies outside of the space 'lora-only'"):
        compare(a_bench(place, space="lora-only"))
    table = tables.a_table(fakes.space(tmp_path, WIDE), ("one",), number=2, repeats=0)
    bare = write_table(tmp_path / "bare", Table(records=table.records, tasks={}))
    with pytest.raises(UserError, match=r"does not say which backbone it is of: table.json is missing"):
        compare(a_bench(place, table=bare))
    unscored = tuple(record.model_copy(update={"test": None}) for record in table.records)
    folder = write_table(tmp_path / "unscored", Table(records=unscored, tasks={}, about=table.about))
    with pytest.raises(UserError, match=r"task 'one' of the table: candidate \w+ was never scored on test"):
        compare(a_bench(place, table=folder))


def benchmark(name: str = "asha_on_table") -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_asha_comes_as_far_as_a_random_search_in_half_of_its_steps(tmp_path: Path) -> None:
    """On curves of power laws and few searches; the figure for a table of real trials has its script in benchmarks."""
    space = fakes.space(tmp_path, WIDE)
    write_table(tmp_path / "table", tables.a_table(space, ("one", "two"), number=50, noise=0.003))
    answer = benchmark().answer(compare(a_bench(tmp_path, samplers=("random",), searches=5, points=100)))
    asha = answer["asha"]["random"]
    assert 0 < asha["ratio"] <= 1 / 2
    assert asha["regret_at_the_end"] < answer["random"]["regret_at_the_end"]
    low, high = asha["interval"]
    assert low <= asha["ratio"] <= high


def test_the_table_of_signals_has_a_heading_for_each_cell(place: Path) -> None:
    script = benchmark("signal_tasks")
    _, _, head, rule, *lines = script.table(script.signals(read(place / "table").records)).splitlines()
    assert len(lines) == 2
    assert {line.count("|") for line in (head, rule, *lines)} == {9}
