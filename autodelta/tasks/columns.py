"""Columns: what the user says about a data set that has no card of ours (`--task hf:dataset/config`)."""

from pydantic import Field

from autodelta.frozen import Frozen


class Columns(Frozen):
    """Which columns and splits of a Hugging Face data set make a task. Whatever is not said is found or made:

    labels from the column's class names, template and words in T5's style; where test is missing or has no public
    labels, the validation split is test, and validation is carved out of train. With a metric of texts (exact_match,
    token_f1, rouge_l) the task is open-ended, and the label's column holds answers of max_new_tokens at most.
    """

    inputs: tuple[str, ...] = Field(min_length=1)
    label: str = "label"
    labels: tuple[str, ...] = ()  # where the column holds integers: their names, from 0 on
    template: str | None = None
    words: dict[str, str] | None = None
    metric: str = "accuracy"
    max_new_tokens: int = 32
    group: str | None = None  # an input column; rows of equal value stay together where validation is carved
    train: str = "train"
    validation: str | None = None
    test: str | None = None
