from pathlib import Path

import pytest

from autodelta.search.run import Run
from tests.search import killing

FIVE = ("asked:2", "checkpoint:1", "telling:3", "ledger:2", "confirming:2")


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", "local-packed"])
def test_a_search_killed_at_five_points_ends_as_if_it_had_not_been(executor: str, tmp_path: Path) -> None:
    killed = killing.storm(tmp_path / "killed", executor, FIVE)
    assert [killed[point] for point in FIVE] == [1] * 5
    killing.storm(tmp_path / "whole", executor, ())
    asked = killing.settings(executor)
    assert killing.story(Run(tmp_path / "killed", asked)) == killing.story(Run(tmp_path / "whole", asked))


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes", "processes-packed", "ray", "ray-packed"])
def test_a_parallel_search_killed_at_five_points_loses_nothing_and_does_nothing_twice(
    executor: str, tmp_path: Path
) -> None:
    killed = killing.storm(tmp_path / "killed", executor, FIVE)
    assert sum(killed.values()) == 5
