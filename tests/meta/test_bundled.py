"""What ships: a model that was fitted to the records beside it, fits the default space on `nano`, and knows tasks."""

import numpy as np
import pytest

from autodelta.backbones import load
from autodelta.meta import past, records, saved
from autodelta.meta.compositions import configurations, layout
from autodelta.meta.model import Model
from autodelta.search.transfer import chosen
from autodelta.space import Space
from autodelta.tasks import load as load_task

LEAST_TRIALS, LEAST_TASKS = 1500, 50


@pytest.fixture(scope="module")
def model() -> Model:
    return saved.load(past.BUNDLED)


def test_the_model_is_of_the_records_that_ship_and_of_todays_features(model: Model) -> None:
    found = past.read(past.BUNDLED)
    assert found is not None
    tables = [records.read(folder) for folder in past.recorded(past.BUNDLED)]
    assert found.trials == sum(len(table.records) for table in tables) >= LEAST_TRIALS
    assert {task.partition("@")[0] for task in model.tasks} <= {task.task.partition("@")[0] for task in found.tasks}
    assert len({task.partition("@")[0].partition("?")[0] for task in model.tasks}) >= LEAST_TASKS
    model.layout.check(layout())


def test_no_trial_that_ships_failed_and_none_lacks_its_curve() -> None:
    for folder in past.recorded(past.BUNDLED):
        found = records.read(folder).records
        assert {(one.state, one.reason) for one in found} == {("complete", "")}
        assert all(one.curve and one.test is not None for one in found)


def test_a_search_of_the_default_space_on_nano_begins_with_it(model: Model) -> None:
    backbone = load("nano")
    space = Space.load("default", backbone.shape)
    said: list[str] = []
    begun = chosen(None, None, space=space, task=load_task("demo/topic"), backbone=backbone, say=said.append)
    assert begun.sampler == "meta", said
    pool = configurations([space.sample(np.random.default_rng(0)) for _ in range(20)], backbone.shape)
    low, high = model.on(begun.features).interval(pool)
    assert ((low < high) & np.isfinite(low) & np.isfinite(high)).all()
    assert np.median(np.minimum(high, 1) - np.maximum(low, 0)) < 0.8  # of accuracies, between 0 and 1
