"""The pretraining script runs from a text file to a checkpoint that loads, and goes on from where it was stopped."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from typer.testing import CliRunner

from autodelta.backbones.loading import load, weights_sha256
from autodelta.backbones.pretrain.__main__ import app

PLAN = """
name: tiny
seed: 1
text: [{source: sentences made up by the test, licence: none needed, megabytes: 0.1}]
tokenizer: {pieces: 30, sample_bytes: 100000}
shape: {d_model: 16, d_kv: 4, d_ff: 24, num_heads: 4, num_layers: 2, num_decoder_layers: 1,
  feed_forward_proj: gated-gelu}
spans: {input_length: 32, corruption_rate: 0.15, mean_span_length: 3}
start: {window: 2, least_seen: 5}
mixture: {input_lengths: [16, 32], span_rows: 4, format_share: 0.5, format_rows: 4}
stable: {warmup_steps: 5, matrix_lr: 0.01, vector_lr: 0.02, embedding_lr: 0.005, position_lr: 0.005}
anneal: {steps: 6}
"""
WORDS = ["the", "small", "river", "runs", "past", "an", "old", "mill", "and", "every", "summer", "many", "people"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("pretrain")
    rng = np.random.default_rng(0)
    documents = ["\n".join(" ".join(rng.choice(WORDS, 40)) for _ in range(4)) for _ in range(60)]
    (folder / "text.txt").write_text("\n\n".join(documents), encoding="utf8")
    (folder / "plan.yaml").write_text(PLAN, encoding="utf8")
    common = ["--plan", str(folder / "plan.yaml"), "--work", str(folder / "work")]
    for command in (
        ["prepare", *common, "--text", str(folder / "text.txt")],
        ["stable", *common, "--minutes", "0.03"],
        ["stable", *common, "--minutes", "0.03"],
        ["anneal", *common],
        ["anneal", *common],  # which is over: more steps would go uphill
        ["export", *common, "--to", str(folder / "checkpoint")],
    ):
        result = CliRunner().invoke(app, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    return folder


def test_a_second_stable_run_goes_on_from_the_first(trained: Path) -> None:
    rows = [line.split(",") for line in (trained / "work" / "curve.csv").read_text().splitlines()[1:]]
    stable = [int(row[1]) for row in rows if row[0] == "stable"]
    assert stable == sorted(stable)
    assert len(set(stable)) >= 2


def test_the_exported_checkpoint_loads_and_states_its_facts(trained: Path) -> None:
    backbone = load(str(trained / "checkpoint"))
    facts = json.loads((trained / "checkpoint" / "training.json").read_text())
    assert facts["anneal"]["step"] == 6
    assert facts["held_out_loss"] > 0
    assert "# tiny" in (trained / "checkpoint" / "README.md").read_text()
    assert backbone.shape.encoder_blocks == 2
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    assert backbone.tokenizer("The River")["input_ids"] == backbone.tokenizer("the river")["input_ids"]


def test_the_weights_hash_is_the_same_in_both_dtypes_and_changes_with_a_weight(trained: Path) -> None:
    halves = load(str(trained / "checkpoint"), dtype="bf16")
    singles = load(str(trained / "checkpoint"), dtype="fp32")
    assert halves.sha256 == singles.sha256
    with torch.no_grad():
        next(singles.model.parameters())[0, 0] += 1
    assert weights_sha256(singles.model) != halves.sha256


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(trained: Path) -> None:
    work = trained / "work"
    (work / "rendezvous").unlink(missing_ok=True)
    command = [sys.executable, "-m", "autodelta.backbones.pretrain", "stable", "--plan", str(trained / "plan.yaml")]
    parent = subprocess.Popen([*command, "--work", str(work), "--minutes", "5", "--processes", "2"])
    try:
        deadline = time.monotonic() + 120
        while not (work / "rendezvous").exists():  # made once a child trains
            assert parent.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        children = psutil.Process(parent.pid).children(recursive=True)
        assert len(children) >= 2
    finally:
        parent.kill()
        parent.wait()
    gone, alive = psutil.wait_procs(children, timeout=60)
    for process in alive:
        process.kill()
    assert not alive
    assert len(gone) == len(children)
