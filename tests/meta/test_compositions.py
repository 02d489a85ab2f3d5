"""Recorded tables become sources: one token a delta, one point an evaluation, folds that keep families together."""

import math

import numpy as np
import pytest

from autodelta.candidate import Candidate
from autodelta.deltas.spec import specs
from autodelta.errors import UserError
from autodelta.meta.compositions import configurations, layout, sources
from autodelta.meta.features import BACKBONE, ENCODER, FEATURES
from autodelta.meta.folds import family, folds
from autodelta.meta.records import About, Table
from tests.meta.tables import candidate, record, task_features
from tests.search.fakes import SHAPE

ABOUT = About(
    backbone="tiny", backbone_sha256="0", dtype="fp32", shape=SHAPE, space="s", space_text="", seed=1, curve=(10, 20)
)


def _table(*records: object) -> Table:
    names = (*FEATURES, *ENCODER, *BACKBONE)
    known = {"one": task_features("one", **dict.fromkeys(names, 0.5))}
    return Table(records=tuple(records), tasks=known, about=ABOUT)  # type: ignore[arg-type]


def test_every_method_has_a_token_of_its_own_and_finite_numbers() -> None:
    names = layout()
    for spec in specs().values():
        roles = [role for role in SHAPE.kinds() if role.split(".", 1)[1] in spec.parts]
        for config in spec.small:
            delta = {"method": spec.name, "roles": roles, "config": config.model_dump(), "learning_rate": 0.01}
            one = Candidate.model_validate({"deltas": [delta], "training": {"steps": 10, "batch_size": 4}})
            found = configurations([one], SHAPE)
            kinds = found.tokens[0, 0, : len(names.kinds)]
            assert names.kinds[int(kinds.argmax())] == spec.name
            assert kinds.sum() == 1


def test_a_composition_has_a_token_a_delta_and_tells_sizes_apart() -> None:
    lora = candidate().deltas[0].model_dump()
    bitfit = {"method": "bitfit", "roles": ["decoder.ffn.out"], "learning_rate": 0.01}
    both = Candidate.model_validate({"deltas": [lora, bitfit], "training": {"steps": 40, "batch_size": 8}})
    found = configurations([candidate(rank=2), candidate(rank=4), both], SHAPE)
    assert found.present.sum(axis=1).tolist() == [1, 1, 2]
    column = len(layout().kinds) + layout().values.index("rank")
    assert found.tokens[:2, 0, column] == pytest.approx([math.log(3), math.log(5)])
    stack = len(layout().kinds) + layout().values.index("decoder")
    assert sorted(found.tokens[2, :, stack]) == [0.0, 1.0]
    assert Candidate.model_validate_json(found.keys[2]) == both


def test_a_candidate_that_does_not_fit_the_backbone_is_one_line() -> None:
    delta = {"method": "lora", "roles": ["encoder.self_attn.q"], "encoder_blocks": [7], "learning_rate": 0.1}
    one = Candidate.model_validate({"deltas": [delta], "training": {"steps": 10, "batch_size": 4}})
    with pytest.raises(UserError, match="does not fit the backbone"):
        configurations([one], SHAPE)


def test_points_of_curves_become_points_at_their_share_of_the_steps() -> None:
    failed = record(rank=8, state="failed", curve=())
    found = sources(_table(record(), record(rank=4), record(repeat=1), failed))
    assert len(found.configurations) == 2
    (task,) = found.tasks
    assert len(task.points) == 9
    assert sorted(set(task.points.rungs)) == [0.25, 0.5, 1.0]
    assert task.points.ended.sum() == 3
    assert np.isfinite(task.log_seconds).sum() == 3
    assert np.isfinite(task.features).all()
    assert task.points.scores[task.points.ended] == pytest.approx([0.92, 0.94, 0.92])


def test_a_task_that_is_not_described_has_no_features() -> None:
    found = sources(_table(record(task="two")))
    assert np.isnan(found.tasks[0].features).all()


def test_a_candidate_on_another_backbone_is_another_configuration() -> None:
    wider = ABOUT.model_copy(update={"shape": SHAPE.model_copy(update={"d_model": 2 * SHAPE.d_model})})
    found = sources(_table(record()), Table(records=(record(task="two"),), tasks={}, about=wider))
    rows = [int(task.points.rows[0]) for task in found.tasks]
    assert rows == [0, 1]
    sizes = found.configurations.tokens[rows, 0, len(layout().kinds) + layout().values.index("log_parameters")]
    assert sizes[1] > sizes[0]
    assert len(set(found.configurations.keys)) == 2
    assert {Candidate.model_validate_json(key) for key in found.configurations.keys} == {candidate()}


def test_a_task_of_two_tables_is_one_source_unless_its_features_differ() -> None:
    first, second = _table(record()), _table(record(rank=4), record(task="two"))
    found = sources(first, second)
    assert [(task.name, int(task.points.ended.sum())) for task in found.tasks] == [("one", 2), ("two", 1)]
    (name, known), *_ = first.tasks.items()
    other = known.model_copy(update={"features": {key: value + 1 for key, value in known.features.items()}})
    found = sources(first, Table(records=second.records, tasks={name: other}, about=ABOUT))
    assert [task.name for task in found.tasks] == ["one", "one", "two"]


def test_a_table_without_its_backbone_is_refused() -> None:
    with pytest.raises(UserError, match="backbone is not known"):
        sources(Table(records=(record(),), tasks={}))


def test_names_say_the_family() -> None:
    assert family("sst2@500") == family("mr") == family("sst5@100")
    assert family("reviews_dvd") == family("reviews_books@200")
    assert family("tweeteval_irony") == family("tweeteval_emotion") != family("emotion")
    assert family("demo/entailment?train=500") == family("demo/entailment?seed=3")
    assert family("mnli_mismatched@500") == family("mnli")  # the same rows of train
    assert family("wnli") == family("wsc")  # the same sentences
    assert family("copa") == "copa"


def test_no_family_is_on_both_sides_and_folds_are_even() -> None:
    names = [f"f{number % 13}" for number in range(50)]
    fold = folds(names, 10)
    for name in set(names):
        assert len({fold[at] for at, other in enumerate(names) if other == name}) == 1
    assert np.bincount(fold, minlength=10).max() <= 8
    assert set(fold) == set(range(10))
