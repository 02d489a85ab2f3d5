"""A plan is read whole, and a mistake in it is one line with its place."""

from pathlib import Path

import pytest

from autodelta.errors import UserError
from autodelta.search.pruning import rungs
from autodelta.space import Space
from autodelta.studies.plan import Plan, TaskPlan, read
from tests.search.fakes import SHAPE

PLANS = Path(__file__).parents[2] / "benchmarks" / "plans"

GOOD = """
description: for a test
tasks:
  - one
  - name: two
    train_rows: [100, all]
shared: 4
repeats: {candidates: 2, seeds: 3}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return path


def test_a_plan_names_tasks_sizes_and_numbers(tmp_path: Path) -> None:
    plan = read(written(tmp_path, GOOD))
    assert plan.tasks == (TaskPlan(name="one"), TaskPlan(name="two", train_rows=(100, "all")))
    assert [task.sizes for task in plan.tasks] == [(None,), (100, None)]
    assert (plan.backbone, plan.space, plan.curve, plan.fresh) == ("nano", "default", 8, 0)


def test_a_task_may_have_a_number_of_candidates_of_its_own(tmp_path: Path) -> None:
    plan = read(written(tmp_path, GOOD.replace("name: two", "name: two\n    fresh: 5") + "fresh: 2"))
    assert plan.fresh_by_task == {"one": 2, "two@100": 5, "two": 5}


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("shared: 4", "shard: 4", 7, "shard: unknown key 'shard'; did you mean 'shared'?"),
        ("shared: 4", "shared: -1", 7, "shared: must be greater than or equal to 0, not -1"),
        ("shared: 4", "shared: many", 7, "not 'many'"),
        ("shared: 4", "shared: 1", 1, "repeats.candidates must be at most shared (1), not 2"),
        (
            "    train_rows: [100, all]",
            "    train_rows: [100, most]",
            6,
            "must be a number of rows, or all, not 'most'",
        ),
        ("    train_rows: [100, all]", "    train_rows: 0", 6, "train_rows must be at least 2, or all, not 0"),
        ("    train_rows: [100, all]", "    rows: 100", 6, "unknown key 'rows'; choose from: fresh, name, train_rows"),
        ("    train_rows: [100, all]", "    fresh: -1", 6, "fresh: must be greater than or equal to 0, not -1"),
        ("seeds: 3", "seeds: 1", 8, "seeds: must be greater than or equal to 2, not 1"),
        ("seeds: 3", "seed: 3", 8, "unknown key 'seed'; did you mean 'seeds'?"),
        ("  - one", "  - two", 1, "the task 'two' stands twice"),
        ("  - one\n", "  - [one]\n", 4, "tasks: must be keys and values, not ['one']"),
        ("shared: 4", "shared: true", 7, "shared: must be a valid integer, not True"),
        ("shared: 4", "shared: 10000000000000000000000", 7, "shared: must be less than or equal to 100000, not 1"),
        ("shared: 4", "shared: 4\ncurve: 2000", 8, "curve: must be less than or equal to 100, not 2000"),
        ("seeds: 3", "seeds: 1000000000000", 8, "repeats.seeds: must be less than or equal to 1000, not 1"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    with pytest.raises(UserError) as caught:
        read(written(tmp_path, GOOD.replace(old, new)))
    message = str(caught.value)
    assert message.startswith(f"plan.yaml:{line}: ")
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a plan has keys and values"),
        ("- one", "a plan has keys"),
        ("tasks: [a", "not YAML"),
        ("shared: 1", "tasks"),
        ("tasks: one\nshared: 1", "plan.yaml:1: tasks: must be a list, not 'one'"),
        ("tasks: []\nshared: 1", r"plan.yaml:1: tasks: must not be empty, as \[\] is"),
        ("tasks:\n  - {name: one, rows: 3}\nshared: 1", "plan.yaml:2: tasks.rows: unknown key 'rows'"),
    ],
)
def test_a_file_that_is_no_plan_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(written(tmp_path, text))


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such plan"):
        read(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("steps", [250, 243, 100, 2000])
def test_the_steps_of_a_curve_hold_the_rungs_of_a_search_that_keeps_a_third(steps: int) -> None:
    curve = Plan.model_validate({"tasks": ["a"], "shared": 1, "curve": 8}).report_at(steps)
    rungs = [-(-steps // 3**number) for number in range(4)]
    assert len(curve) == 8
    assert set(rungs) <= set(curve)
    assert curve[-1] == steps


def test_a_curve_of_few_steps_has_no_step_twice() -> None:
    assert Plan.model_validate({"tasks": ["a"], "shared": 1}).report_at(4) == (1, 2, 3, 4)


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_plans_of_the_repository_can_be_read_and_their_curves_hold_every_rung(path: Path) -> None:
    plan = read(path)
    assert plan.description
    most_steps = Space.load(plan.space, SHAPE).settings.most_steps
    assert set(rungs(most_steps)) <= set(plan.report_at(most_steps))
