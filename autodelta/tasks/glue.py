"""GLUE (Wang et al. 2019, arXiv:1804.07461) in T5's text-to-text form (Raffel et al. 2020, arXiv:1910.10683, app. D).

The label words are those T5 itself was trained with. `ax` is left out: it is a diagnostic set without train split and
without public labels.
"""

from autodelta.tasks.published import Published
from autodelta.tasks.view import View

ENTAILMENT = ("entailment", "not_entailment")
STSB_STEP = 0.2  # T5 rounds similarity to the nearest fifth, so that it is one of 26 texts
MNLI_LABELS = ("entailment", "neutral", "contradiction")


def _glue(
    name: str,
    inputs: tuple[str, ...],
    labels: tuple[str, ...],
    *,
    kind: str,
    licence: str,
    metric: str = "accuracy",
    config: str | None = None,
    group: str | None = None,
    test: str = "validation",
) -> Published:
    """A row of the table; labels stand in the order of the data set's class numbers."""
    config = config or name
    template = " ".join([config, *(f"{field}: {{{field}}}" for field in inputs)])
    words = {label: label for label in labels}
    view = View(name=name, inputs=inputs, template=template, labels=labels, words=words, metric=metric)
    return Published(
        dataset="nyu-mll/glue", config=config, view=view, kind=kind, licence=licence, group=group, test=test
    )


def _mnli(name: str, test: str) -> Published:
    return _glue(
        name,
        ("hypothesis", "premise"),
        MNLI_LABELS,
        kind="nli",
        licence="OANC, CC BY 3.0 and others",
        config="mnli",
        group="premise",
        test=test,
    )


_PAIR = ("sentence1", "sentence2")
_SCORES = tuple(f"{step * STSB_STEP:.1f}" for step in range(26))

TASKS: dict[str, Published] = {
    task.view.name: task
    for task in (
        _glue(
            "cola",
            ("sentence",),
            ("unacceptable", "acceptable"),
            kind="acceptability",
            metric="matthews",
            licence="excerpts of publications, research use",
        ),
        _glue("sst2", ("sentence",), ("negative", "positive"), kind="sentiment", licence="research use"),
        _glue(
            "mrpc",
            _PAIR,
            ("not_equivalent", "equivalent"),
            kind="paraphrase",
            metric="macro_f1",
            licence="research use",
        ),
        _glue(
            "qqp",
            ("question1", "question2"),
            ("not_duplicate", "duplicate"),
            kind="paraphrase",
            metric="macro_f1",
            licence="Quora terms, non-commercial",
        ),
        _glue("stsb", _PAIR, _SCORES, kind="similarity", metric="pearson", licence="mixed Creative Commons licences"),
        _mnli("mnli", "validation_matched"),
        _mnli("mnli_mismatched", "validation_mismatched"),
        _glue("qnli", ("question", "sentence"), ENTAILMENT, kind="nli", licence="CC BY-SA 4.0"),
        _glue("rte", _PAIR, ENTAILMENT, kind="nli", licence="research use", group="sentence1"),
        _glue("wnli", _PAIR, ENTAILMENT[::-1], kind="nli", licence="CC BY 4.0 upstream", group="sentence1"),
    )
}
EXCLUDED = {"ax": "it is a diagnostic set without train split and without public labels"}
