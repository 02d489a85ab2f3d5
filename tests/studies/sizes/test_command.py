"""`autodelta search --train-sizes` from the outside."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import autodelta
from autodelta.cli import app
from tests.small import save_backbone, save_task

REAL = """
methods:
  lora: {roles: "*_attn.q", sizes: {rank: [2, 4]}, learning_rate: {low: 3e-3, high: 3e-2, log: true}}
  bitfit: {roles: "*_attn.*, ffn.*", learning_rate: {low: 3e-3, high: 3e-2, log: true}}
training: {steps: 6, batch_size: 8}
"""


def command(place: Path, sizes: str, **changed: str) -> Any:
    (place / "space.yaml").write_text(REAL)
    options = {
        "task": "small",
        "data": str(place / "data"),
        "backbone": str(place / "backbone"),
        "space": str(place / "space.yaml"),
        "budget": "4trials",
        "executor": "local",
        "workers": "1",
        "runs": str(place / "runs"),
        "train-sizes": sizes,
        **changed,
    }
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    return CliRunner().invoke(app, ["search", *words], catch_exceptions=False)


@pytest.mark.parametrize(
    ("sizes", "changed", "said"),
    [
        ("8,some", {}, "'some'"),
        ("8,8,all", {}, "every train size stands once: 8"),
        ("8,49", {}, "small has 48 rows of train: 49; choose from 2 to 48, or all"),
        ("1,all", {}, "at least 2"),
        ("all", {}, "two or more"),
        ("4,8,all", {"budget": "2trials"}, "3 train sizes need a trial each"),
        ("8,all", {"budget": "soon"}, "a number and a unit"),
        ("8,all", {"sampler": "tpee"}, "did you mean 'tpe'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2_and_writes_nothing(
    sizes: str, changed: dict[str, str], said: str, tmp_path: Path
) -> None:
    save_task(tmp_path / "data")
    result = command(tmp_path, sizes, **changed)
    assert result.exit_code == 2, result.output
    errors = [line for line in result.stderr.splitlines() if line]
    assert len(errors) == 1
    assert said in errors[0]
    assert not (tmp_path / "runs").exists()


def test_folders_may_be_named_by_texts_from_python(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("autodelta.studies.sizes.submit_sizes", lambda *given: seen.append(given[0]))
    autodelta.search_sizes("small", budget="4trials", train_sizes=(8, "all"), data="data", meta="model", runs="runs")
    assert (seen[0].data, seen[0].meta, seen[0].runs) == (Path("data"), Path("model"), Path("runs"))


@pytest.mark.slow
def test_a_study_from_the_command_line(tmp_path: Path) -> None:
    save_task(tmp_path / "data")
    save_backbone(tmp_path / "backbone", v1_1=True)
    runs = ["--runs", str(tmp_path / "runs")]
    result = command(tmp_path, "8,all", name="both")
    assert result.exit_code == 0, result.output
    assert "budget 4trials: 2trials for each of 2 train sizes" in result.output
    assert "By labelled data" in result.output
    shown = CliRunner().invoke(app, ["show", "both", *runs])
    assert "Winners at every train size" in shown.output or "there is nothing to cross" in shown.output
    summary = json.loads(CliRunner().invoke(app, ["show", "both", *runs, "--json"]).stdout)
    assert summary["train_sizes"] == [8, 48]
    assert summary["answer"]["finished"]
    one = json.loads(CliRunner().invoke(app, ["show", "both/8", *runs, "--json"]).stdout)
    assert len(one["trials"]) == 2
    assert (tmp_path / "runs" / "both" / "all" / "recipe" / "recipe.yaml").is_file()
    more = CliRunner().invoke(app, ["search", "--resume", "both", "--budget", "6trials", *runs], catch_exceptions=False)
    assert more.exit_code == 0, more.output
    assert autodelta.open_sizes("both", tmp_path / "runs").budget["spent"]["trials"] == 6
    less = CliRunner().invoke(app, ["search", "--resume", "both", "--budget", "5trials", *runs])
    assert (less.exit_code, "a larger one: '6trials', not '5trials'" in less.stderr) == (2, True)
    changed = CliRunner().invoke(app, ["search", "--resume", "both", "--train-sizes", "8,all", *runs])
    assert "keeps its --train-sizes" in changed.stderr
