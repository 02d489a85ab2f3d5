"""What a search hands over: the candidate that the past and all trials say is best, not the luckiest score."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest

from autodelta.meta.records import Table
from autodelta.search import transfer
from autodelta.search.answer.entrants import finalists
from autodelta.search.believed import believed, of_search
from autodelta.search.driver import search
from autodelta.search.kept import scene
from autodelta.search.records import TrialRecord
from autodelta.search.samplers import Scene
from autodelta.search.samplers.meta import MetaSampler
from autodelta.space import Space
from tests.meta.pasts import FEATURES, a_past, learned, worth
from tests.search import fakes

SPACE = Space.of_text(fakes.SPACE, fakes.SHAPE, name="small")
NOISE = 0.05  # of a score, in the records and in what the search sees


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    past = a_past(SPACE)
    rng = np.random.default_rng(1)

    def seeds() -> Iterator[object]:
        for record in past.records:
            for repeat in range(2):
                end = record.curve[-1]
                noisy = end.model_copy(update={"score": end.score + rng.normal(0, NOISE)})
                yield record.model_copy(update={"curve": (noisy,), "repeat": repeat, "seed": repeat})

    table = Table(records=tuple(seeds()), tasks=past.tasks, about=past.about)  # type: ignore[arg-type]
    return learned(tmp_path_factory.mktemp("past"), table)


def trials(lucky: float) -> list[TrialRecord]:
    """Twelve candidates with the score that they are worth; the worst had luck, and lies so far above the best."""
    rng = np.random.default_rng(3)
    candidates = list(dict.fromkeys(SPACE.sample(rng) for _ in range(16)))[:12]
    scores = [worth(one) for one in candidates]
    scores[int(np.argmin(scores))] = max(scores) + lucky
    return [
        TrialRecord.model_validate(
            {
                "number": number, "state": "complete", "candidate": one, "methods": one.methods, "parameters": 10,
                "cap": None, "score": score, "step": one.training.steps, "device_seconds": 1.0, "seed": 1, "reason": "",
            }
        )
        for number, (one, score) in enumerate(zip(candidates, scores, strict=True))
    ]  # fmt: skip


def test_the_first_finalist_is_the_best_by_all_that_is_known_and_not_the_luckiest(model: Path) -> None:
    shown = trials(lucky=0.01)
    luckiest, second = sorted(shown, key=lambda trial: -(trial.score or 0.0))[:2]
    assert second.candidate is not None
    beliefs = believed(Scene(SPACE, FEATURES, model), shown)
    assert [one.key for one in (trial.candidate for trial in shown) if one] == list(beliefs)
    found = finalists(shown, rows=200, metric="accuracy", believed=beliefs)
    assert found[0].trial != luckiest.number
    assert worth(found[0].candidate) > worth(second.candidate) - NOISE
    assert (found[0].expected, found[0].expected_sd) == beliefs[found[0].candidate.key]
    assert found[0].searched == shown[found[0].trial or 0].score
    assert finalists(shown, rows=20_000, metric="accuracy", believed={})[0].trial == luckiest.number


def test_a_score_that_no_luck_explains_is_believed(model: Path) -> None:
    shown = trials(lucky=0.5)
    beliefs = believed(Scene(SPACE, FEATURES, model), shown)
    best = max(shown, key=lambda trial: trial.score or 0.0)
    assert best.candidate is not None
    assert max(beliefs, key=lambda key: beliefs[key].expected) == best.candidate.key


def test_nothing_is_believed_without_a_past_that_foretells_its_own_tasks(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, shown = Scene(SPACE, FEATURES, model), trials(lucky=0.01)
    assert believed(known, shown[:0]) == {}
    assert of_search(fakes.settings(sampler="tpe"), SPACE, tmp_path, shown) == {}
    assert of_search(fakes.settings(sampler="meta", meta=tmp_path / "none"), SPACE, tmp_path, shown) == {}
    learned = transfer.fitted(known)
    poor = replace(learned, found=learned.found.model_copy(update={"opening": None}))
    monkeypatch.setattr(transfer, "fitted", lambda scene: poor)
    assert believed(known, shown) == {}


def test_a_search_confirms_what_it_believes_in(model: Path, tmp_path: Path) -> None:
    settings = fakes.settings(budget="14trials", sampler="meta", meta=model, features=FEATURES)
    run = search(settings, fakes.space(tmp_path), folder=tmp_path / "run")
    beliefs = believed(scene(run.settings, fakes.space(tmp_path), run.path), run.trials)
    assert run.result is not None
    finalists = [one for one in run.result.answer.standings if one.kind == "finalist"]
    assert finalists
    for one in finalists:
        candidate = run.trials[one.trial or 0].candidate
        assert candidate is not None
        assert one.expected == beliefs[candidate.key].expected
    assert finalists[0].expected == max(belief.expected for belief in beliefs.values())


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_in_a_study_of_ones_own_the_sampler_names_the_trial_that_it_believes_in(model: Path, direction: str) -> None:
    shown, known = trials(lucky=0.01), Scene(SPACE, FEATURES, model)
    sampler = MetaSampler(known, seed=0)
    study = optuna.create_study(direction=direction, sampler=sampler)
    assert sampler.best_trial(study) is None

    def objective(trial: optuna.Trial) -> float:
        recorded = shown[trial.number]
        assert SPACE.suggest(trial) == recorded.candidate
        return (1 if direction == "maximize" else -1) * (recorded.score or 0.0)

    for trial in shown:
        assert trial.candidate is not None
        study.enqueue_trial(SPACE.to_params(trial.candidate), user_attrs={"cap": None})
    study.optimize(objective, n_trials=len(shown))
    beliefs, named = believed(known, shown), sampler.best_trial(study)
    assert named is not None
    assert named.number != study.best_trial.number
    assert shown[named.number].candidate.key == max(beliefs, key=lambda key: beliefs[key].expected)  # type: ignore[union-attr]
