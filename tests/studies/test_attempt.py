"""One trial, and the description of a task, with a real engine and a tiny T5."""

import math
from typing import Any

import pytest

from autodelta.candidate import Candidate
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.errors import UserError
from autodelta.meta.features import BACKBONE, ENCODER, FEATURES
from autodelta.meta.records import Record
from autodelta.studies.attempt import Job, attempt, describe
from tests.small import save_backbone, save_task

LINEAR = ["encoder.self_attn.q", "decoder.cross_attn.q", "decoder.ffn.in"]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> WorkerSpec:
    folder = tmp_path_factory.mktemp("attempt")
    backbone = save_backbone(folder / "backbone", v1_1=True)
    return WorkerSpec(backbone=str(backbone), task="small", data=save_task(folder / "data"), dtype="fp32")


def job(spec: WorkerSpec, rate: float = 0.03, **known: Any) -> Job:
    candidate = Candidate.model_validate(
        {
            "deltas": [{"method": "bitfit", "roles": LINEAR, "learning_rate": rate}],
            "training": {"steps": 12, "batch_size": 8},
        }
    )
    return Job(
        spec=spec,
        assignment=Assignment(number=0, candidate=candidate, seed=3, report_at=(2, 5)),
        repeat=1,
        known=describe(spec).model_copy(update=known),
        parameters=7,
        backbone_sha256="0",
        dtype="fp32",
        device="cpu",
    )


def test_a_trial_becomes_a_record_with_its_curve_its_cost_and_its_test_score(spec: WorkerSpec) -> None:
    found = attempt(job(spec))
    assert (found.state, found.task, found.train_rows, found.repeat, found.seed) == ("complete", "small", 48, 1, 3)
    assert [point.step for point in found.curve] == [2, 5, 12]
    assert 0 <= (found.test or 0) <= 1
    assert 0 < found.evaluation_seconds < found.device_seconds == found.curve[-1].device_seconds
    assert (found.memory_bytes or 0) > 0
    assert Record.model_validate_json(found.model_dump_json()) == found


def test_the_same_trial_on_fewer_rows_is_of_another_task(spec: WorkerSpec) -> None:
    found = attempt(job(spec.model_copy(update={"train_rows": 16})))
    assert (found.task, found.train_rows, found.state) == ("small@16", 16, "complete")


def test_a_trial_on_other_rows_than_its_table_has_is_not_begun(spec: WorkerSpec) -> None:
    with pytest.raises(UserError, match="the task 'small' has 48 rows of train, and had 40 when the table began"):
        attempt(job(spec, train_rows=40))


def test_a_trial_that_fails_is_a_record_that_says_why_and_the_next_one_is_clean(spec: WorkerSpec) -> None:
    before = attempt(job(spec))
    found = attempt(job(spec, rate=1e38))
    assert (found.state, found.test) == ("failed", None)
    assert found.reason.startswith("NotFinite: ")
    assert found.device_seconds > 0
    assert _scores(attempt(job(spec))) == _scores(before)


def _scores(record: Record) -> list[tuple[float, float]]:
    return [(point.score, point.train_loss) for point in record.curve]


def test_a_task_is_described_with_the_frozen_encoders_view(spec: WorkerSpec) -> None:
    found = describe(spec)
    assert tuple(found.features) == (*FEATURES, *ENCODER, *BACKBONE)
    assert all(map(math.isfinite, found.features.values()))
    assert len(found.embedding) == 16
    assert (found.task, found.metric, found.train_rows) == ("small", "accuracy", 48)
    smaller = describe(spec.model_copy(update={"train_rows": 16}))
    assert smaller.features["log_train_rows"] < found.features["log_train_rows"]


def test_padding_does_not_show_in_the_vectors(spec: WorkerSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    together = describe(spec)
    monkeypatch.setattr("autodelta.search.knowledge.ROWS_AT_ONCE", 1)
    alone = describe(spec)
    assert together.embedding == pytest.approx(alone.embedding, abs=1e-4)
