"""Uses a recipe: predicts with it, or trains its candidate again."""

from pathlib import Path

from autodelta.backbones import Backbone, load
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.encode import encode
from autodelta.engine.evaluate import predict as predict_labels
from autodelta.engine.worker import Worker
from autodelta.recipe.recipe import BackboneReference, Recipe, ScoreLine, versions
from autodelta.tasks import Task, View


class Prediction(ScoreLine):
    """A score with the labels behind it, in the order of the split's rows."""

    labels: tuple[str, ...]


def predict(recipe: Recipe, task: Task, *, split: str, backbone: str | None = None, device: str = "cpu") -> Prediction:
    """The recipe's labels and score on a split of a task, on a freshly loaded backbone.

    The rows are seen through the recipe's own view. Another name or path for the same backbone may be given.

    Raises:
        UserError: the backbone differs from the recipe's, or the rows do not fit its view.
    """
    seen = task.through(View.model_validate(recipe.task))
    loaded = load(backbone or recipe.backbone.name, dtype=recipe.backbone.dtype, device=device)
    attached = recipe.apply(loaded.model)
    try:
        encoded = encode(loaded, seen, split)
        labels = predict_labels(loaded.model, encoded, seen.labels)
    finally:
        attached.detach()
    gold = [seen.labels[number] for number in encoded.labels]
    return Prediction(
        split=split,
        metric=seen.metric,
        value=seen.score(gold, labels),
        rows=len(labels),
        seeds=(recipe.seed,),
        labels=tuple(labels),
    )


def train(recipe: Recipe, spec: WorkerSpec, *, seed: int, to: Path) -> Recipe:
    """Trains the recipe's candidate anew on the task and backbone of ``spec``, scores it once on test, and writes it.

    Raises:
        UserError: the candidate does not fit the backbone.
        NotFinite, OutOfMemory: as the engine raises them.
    """
    worker = Worker(spec)
    *_, last = worker.run(Assignment(number=0, candidate=recipe.candidate, seed=seed))
    weights = worker.weights()
    worker.close_trial()
    task = worker.task
    scores = [(split, len(task.examples(split))) for split in ("validation", "test")]
    found = recipe.model_copy(
        update={
            "parameters": recipe.candidate.count_parameters(worker.backbone.shape),
            "backbone": reference(worker.backbone),
            "task": task.view(),
            "seed": seed,
            "scores": (),
            "run": None,
            "trial": None,
            "versions": versions(),
        }
    )
    written = found.write(to, weights)
    values = {"validation": last.score, "test": worker.score(recipe.candidate, to / "delta.safetensors", "test")}
    lines = tuple(
        ScoreLine(split=split, metric=task.metric, value=values[split], rows=rows, seeds=(seed,))
        for split, rows in scores
    )
    return written.model_copy(update={"scores": lines}).write(to, weights)


def reference(backbone: Backbone) -> BackboneReference:
    """What a recipe states of a backbone."""
    dtype = "bf16" if "bfloat16" in str(backbone.dtype) else "fp32"
    return BackboneReference(name=backbone.name, sha256=backbone.sha256, dtype=dtype, shape=backbone.shape)
