"""`autodelta collect` from the outside: a plan, a folder, plain lines, one-line mistakes."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from autodelta.cli import app
from autodelta.meta.records import read
from tests.small import save_backbone, save_task

SPACE = """
methods:
  bitfit: {learning_rate: {low: 1e-3, high: 1e-2, log: true}, roles: self_attn.q}
  lora: {learning_rate: 1e-3, roles: self_attn.q, sizes: {rank: [1, 2]}}
training: {steps: [4, 6], batch_size: 8}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_backbone(tmp_path / "backbone")
    save_task(tmp_path / "data")
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "plan.yaml").write_text(
        f"tasks: [{{name: small, train_rows: [16, all]}}]\nbackbone: {tmp_path / 'backbone'}\n"
        f"space: {tmp_path / 'space.yaml'}\nshared: 2\ncurve: 2\n"
    )
    return tmp_path


def called(folder: Path, *more: str) -> Result:
    options = ["--plan", folder / "plan.yaml", "--to", folder / "table", "--data", folder / "data", "--device", "cpu"]
    return CliRunner().invoke(app, ["collect", *map(str, options), "--workers", "1", *more])


def test_a_plan_is_previewed_collected_and_then_done(folder: Path) -> None:
    preview = called(folder, "--dry-run")
    assert preview.exit_code == 0
    assert "4 trials on 2 tasks, 0 done" in preview.output
    assert not (folder / "table").exists()
    done = called(folder)
    assert done.exit_code == 0, done.output
    assert "4 trials" in done.output
    table = read(folder / "table")
    assert {record.state for record in table.records} == {"complete"}
    assert {record.train_rows for record in table.records} == {16, 48}
    assert set(table.tasks) == {"small", "small@16"}
    again = called(folder, "--dry-run")
    assert "4 trials on 2 tasks, 4 done" in again.output


def test_mistakes_are_one_line_and_change_nothing(folder: Path) -> None:
    plan = folder / "plan.yaml"
    plan.write_text(plan.read_text().replace("name: small", "name: smal"))
    result = called(folder, "--dry-run")
    assert result.exit_code == 2
    assert "did you mean 'small'?" in result.output
    plan.write_text("tasks: [small]\nshare: 2\n")
    result = called(folder)
    assert result.exit_code == 2
    assert "plan.yaml:2: share: unknown key 'share'" in result.output
    assert not (folder / "table").exists()
