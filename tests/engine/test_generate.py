"""What is written is what transformers' greedy generation writes, with every delta, on every kind of T5."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from autodelta.deltas.spec import MethodConfig, specs
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.encode import encode
from autodelta.engine.evaluate import written_answers
from autodelta.engine.forward import Forward
from autodelta.engine.generate import written
from autodelta.engine.memory import Rows
from autodelta.engine.report import Report
from autodelta.engine.worker import Worker
from autodelta.errors import UserError
from autodelta.shape import BackboneShape
from tests.deltas.conformance import candidate_of
from tests.engine.samples import candidate
from tests.engine.test_forward import attached, wide
from tests.models import TINY, batch
from tests.small import save_backbone

VARIANTS = [(name, spec.small[0]) for name, spec in specs().items()]
MOST = 7


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(("method", "config"), VARIANTS, ids=[method for method, _ in VARIANTS])
def test_what_is_written_is_what_transformers_generates(name: str, method: str, config: MethodConfig) -> None:
    model = wide(name)
    given = batch(rows=6, length=9, padded=True)
    rows = {key: given[key] for key in ("input_ids", "attention_mask")}
    with attached(model, candidate_of(BackboneShape.of(model), (method, config))) as on:
        forward = Forward(model, on.composition)
        found = written(forward, forward.encode(*rows.values()), most=MOST, end=1, pad=0)
        settings = {"max_new_tokens": MOST, "do_sample": False, "num_beams": 1, "use_cache": False}
        theirs = model.generate(**rows, **settings, eos_token_id=1, pad_token_id=0)[:, 1:]
    assert found.tolist() == theirs.tolist()


def test_nothing_is_written_after_the_end() -> None:
    model = wide("original")
    given = batch(rows=4)
    forward = Forward(model)
    memory = forward.encode(given["input_ids"], given["attention_mask"])
    whole = written(forward, memory, most=MOST, end=-1, pad=0)
    assert whole.shape == (4, MOST)
    end = int(whole[0, 2])  # now the third token of the first row ends it
    stopped = written(forward, memory, most=MOST, end=end, pad=0)
    for row, full in zip(stopped.tolist(), whole.tolist(), strict=True):
        length = full.index(end) + 1 if end in full else MOST
        assert row == [*full[:length], *[0] * (stopped.shape[1] - length)]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> WorkerSpec:
    """A task of which the answer is the last two words of the input."""
    folder = tmp_path_factory.mktemp("open")
    place = folder / "data" / "last"
    place.mkdir(parents=True)
    (place / "task.json").write_text(json.dumps({"name": "last", "inputs": ["text"], "max_new_tokens": 4}))
    words = ["red", "blue", "green", "dog", "cat", "bird", "runs", "sleeps"]
    for split, count, start in (("train", 64, 0), ("validation", 12, 7), ("test", 12, 3)):
        rows = []
        for number in range(start, start + count):
            text = [words[number % 8], words[(number // 8 + number) % 8], words[number * 3 % 8]]
            rows.append({"text": " ".join(text), "label": " ".join(text[1:])})
        (place / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    backbone = save_backbone(folder / "backbone", v1_1=True)
    return WorkerSpec(backbone=str(backbone), task="last", data=folder / "data", dtype="fp32")


@pytest.fixture(scope="module")
def worker(spec: WorkerSpec) -> Worker:
    return Worker(spec)


def reports(worker: Worker, steps: int = 8) -> Iterator[Report]:
    return worker.run(Assignment(number=0, candidate=candidate(steps), seed=1, report_at=(1, steps)))


def test_a_trial_learns_answers_and_is_scored_by_what_it_writes(worker: Worker) -> None:
    first, last = reports(worker, steps=60)
    assert last.train_loss < first.train_loss
    assert last.log_loss is not None
    assert first.log_loss is not None
    assert last.log_loss < first.log_loss
    scored = worker.evaluate_running("validation")
    gold = [row.label for row in worker.task.examples("validation")]
    assert len(scored.predictions) == len(gold)
    assert scored.score == worker.task.score(gold, list(scored.predictions)) == last.score
    worker.close_trial()


def test_the_log_loss_is_that_of_all_rows_at_once_whatever_goes_together(worker: Worker) -> None:
    forward, encoded = Forward(worker.backbone.model), encode(worker.backbone, worker.task, "validation")
    few, many = (
        written_answers(forward, encoded, worker.task, worker.backbone.tokenizer, rows=Rows(rows)) for rows in (5, 64)
    )
    assert few[0] == many[0]
    assert few[1] == pytest.approx(many[1], rel=1e-5)


def test_a_loss_over_labels_of_a_task_without_labels_is_refused(worker: Worker) -> None:
    with pytest.raises(UserError, match="'last' has no labels, so that its loss is 'text'"):
        next(worker.run(Assignment(number=0, candidate=candidate(2, loss="labels"), seed=1)))


def test_latency_is_that_of_writing(spec: WorkerSpec, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(forward: Forward, memory: object, **how: int) -> torch.Tensor:
        asked.append(how["most"])
        return torch.zeros(1, 1)

    monkeypatch.setattr("autodelta.engine.constraints.written", counted)
    limits = {"latency_share": 1e9}
    plan = Assignment.model_validate({"number": 0, "candidate": candidate(2), "seed": 1, "limits": limits})
    assert list(worker.run(plan))
    assert len(asked) == 12  # of bare and changed, once to warm up and five times


def test_answers_are_cut_where_writing_ends(spec: WorkerSpec, worker: Worker, tmp_path: Path) -> None:
    encoded = encode(worker.backbone, worker.task.model_copy(update={"max_new_tokens": 2}), "train")
    assert max(map(len, encoded.targets)) == 2
    assert all(ids[-1] == worker.backbone.tokenizer.eos_token_id for ids in encoded.targets)
