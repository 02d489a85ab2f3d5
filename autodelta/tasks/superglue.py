"""SuperGLUE (Wang et al. 2019, arXiv:1905.00537) in T5's text-to-text form (arXiv:1910.10683, app. D).

Departures from T5. RTE is GLUE's (`rte`; the rows are the same). The long passage always goes last, because a long
input is cut at its end. WSC asks whether the marked pronoun means the marked noun, True or False, instead of having
the noun written; ReCoRD asks of each entity whether it fills the gap. So both keep all their rows and have a fixed set
of label words. MultiRC and ReCoRD are scored by macro-F1 over answers, which is not the leaderboards' figure.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from autodelta.tasks.published import Published, Record
from autodelta.tasks.view import View

FALSE_TRUE = ("False", "True")


def _superglue(
    name: str,
    template: str,
    inputs: tuple[str, ...],
    labels: tuple[str, ...] = FALSE_TRUE,
    *,
    kind: str,
    licence: str,
    metric: str = "accuracy",
    config: str | None = None,
    group: str | None = None,
    note: str = "",
    columns: tuple[str, ...] = (),
    convert: Callable[[Record], Iterable[Record]] | None = None,
) -> Published:
    """A row of the table; labels stand in the order of the data set's class numbers."""
    words = {label: label for label in labels}
    view = View(name=name, inputs=inputs, template=template, labels=labels, words=words, metric=metric)
    return Published(
        dataset="aps/super_glue",
        config=config or name,
        view=view,
        kind=kind,
        licence=licence,
        group=group,
        note=note,
        columns=columns,
        convert=convert,
    )


def multirc(record: Record) -> Iterator[Record]:
    """The paragraph without its mark-up (`<b>Sent 1: </b>...<br>`), as T5 has it."""
    paragraph = re.sub(r"<[^<>]*>", " ", record["paragraph"])
    yield {**record, "paragraph": " ".join(paragraph.split())}


def wsc(record: Record) -> Iterator[Record]:
    """The text with the noun between stars and the pronoun between hashes; spans count words."""
    words = record["text"].split()
    marks = ((record["span1_index"], record["span1_text"], "*"), (record["span2_index"], record["span2_text"], "#"))
    for at, span, mark in sorted(marks, reverse=True):
        end = at + len(span.split())
        words[at:end] = [mark, *words[at:end], mark]
    yield {"text": " ".join(words), "label": record["label"]}


def record_entities(record: Record) -> Iterator[Record]:
    """One row for each entity of the passage: the query with it in the gap, and whether it is an answer."""
    passage = re.sub(r"(\.|\?|!|\"|')?\s*@highlight\s*", lambda end: f"{end.group(1) or '.'} ", record["passage"])
    answers = set(record["answers"])
    for entity in sorted(set(record["entities"])):
        query = record["query"].replace("@placeholder", entity)
        label = (entity in answers) if answers else None
        yield {"query": query, "entity": entity, "passage": passage, "label": label if label is None else int(label)}


TASKS: dict[str, Published] = {
    task.view.name: task
    for task in (
        _superglue(
            "boolq",
            "boolq question: {question} passage: {passage}",
            ("question", "passage"),
            kind="qa_yesno",
            licence="CC BY-SA 3.0",
            group="passage",
        ),
        _superglue(
            "cb",
            "cb hypothesis: {hypothesis} premise: {premise}",
            ("hypothesis", "premise"),
            ("entailment", "contradiction", "neutral"),
            kind="nli",
            licence="research use",
        ),
        _superglue(
            "copa",
            "copa choice1: {choice1} choice2: {choice2} premise: {premise} question: {question}",
            ("choice1", "choice2", "premise", "question"),
            ("choice1", "choice2"),
            kind="commonsense",
            licence="BSD 2-Clause",
        ),
        _superglue(
            "multirc",
            "multirc question: {question} answer: {answer} paragraph: {paragraph}",
            ("question", "answer", "paragraph"),
            kind="qa_yesno",
            licence="research use",
            metric="macro_f1",
            group="paragraph",
            convert=multirc,
        ),
        _superglue(
            "record",
            "record query: {query} entity: {entity} passage: {passage}",
            ("query", "entity", "passage"),
            kind="qa_yesno",
            licence="Apache-2.0",
            metric="macro_f1",
            group="passage",
            note="one row for each entity of a passage: does it fill the gap?",
            columns=("passage", "query", "entities", "answers"),
            convert=record_entities,
        ),
        _superglue(
            "wic",
            "wic sentence1: {sentence1} sentence2: {sentence2} word: {word}",
            ("sentence1", "sentence2", "word"),
            kind="word_sense",
            licence="CC BY-NC 4.0",
        ),
        _superglue(
            "wsc",
            "wsc text: {text}",
            ("text",),
            kind="coreference",
            licence="CC BY 4.0",
            config="wsc.fixed",
            columns=("text", "span1_index", "span1_text", "span2_index", "span2_text", "label"),
            convert=wsc,
        ),
    )
}
EXCLUDED = {
    "axb": "it is a diagnostic set without train split",
    "axg": "it is a diagnostic set without train split",
}
