"""The script that checks and times everything on a GPU runs through, on a CPU and at a tiny shape."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def run(out: Path, *options: str) -> list[dict[str, Any]]:
    script = str(ROOT / "benchmarks" / "on_gpu.py")
    command = [sys.executable, script, "--device", "cpu", "--quick", "--minutes", "30", "--out", str(out), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, capture_output=True, env=environment, cwd=out)
    found: list[dict[str, Any]] = json.loads((out / "results.json").read_text())
    return found


@pytest.mark.slow
def test_every_section_runs_through_and_finds_the_numbers_right(tmp_path: Path) -> None:
    found = run(tmp_path)
    assert [(one["name"], one["ended"]) for one in found] == [(one["name"], "done") for one in found]
    assert len(found) == 12
    lines = {one["name"]: one["lines"] for one in found}
    assert all(lines.values())
    judged = [line for name in ("parity", "packs equal alone") for line in lines[name] if line.get("right") is not None]
    assert len(judged) > 30
    assert all(line["right"] for line in judged if line.get("variance") != "float32"), judged
    assert "## parity: done" in (tmp_path / "results.md").read_text()


@pytest.mark.slow
def test_a_section_that_fails_is_written_down_and_the_next_one_runs(tmp_path: Path) -> None:
    found = run(tmp_path, "--data", str(tmp_path), "--task", "nothing", "--only", "packs,rates,stacked")
    ended = {one["name"]: one["ended"] for one in found}
    assert ended == {"rates": "done", "packs": "failed", "stacked": "done"}
    assert "unknown task" in next(one["error"] for one in found if one["name"] == "packs")
