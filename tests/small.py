"""A tiny T5 on disk with a tokenizer of its own, and a small task that it can learn: for tests of whole paths."""

import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tests.models import gated, original

WORDS = [
    "red",
    "blue",
    "green",
    "dog",
    "cat",
    "bird",
    "runs",
    "sleeps",
    "sings",
    "a",
    "the",
    "yes",
    "no",
    "small:",
    "sentence:",
]


def tokenizer() -> PreTrainedTokenizerFast:
    """Whole words, in T5's layout: <pad> 0, </s> 1, <unk> 2."""
    vocabulary = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(single=["$A", "</s>"], special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def save_backbone(folder: Path, *, v1_1: bool = False) -> Path:
    """A checkpoint folder as the hub has them."""
    (gated() if v1_1 else original()).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def save_task(folder: Path, *, rows: int = 48) -> Path:
    """Does the sentence speak of a dog? Returns the folder that holds the task ``small``."""
    rng = np.random.default_rng(3)
    task = folder / "small"
    task.mkdir(parents=True)
    for split, size in (("train", rows), ("validation", 16), ("test", 16)):
        lines = []
        for number in range(size):
            animal = ["dog", ["cat", "bird"][int(rng.integers(2))]][number % 2]
            sentence = f"the {rng.choice(['red', 'blue', 'green'])} {animal} {rng.choice(['runs', 'sleeps', 'sings'])}"
            lines.append(json.dumps({"sentence": sentence, "label": "yes" if animal == "dog" else "no"}))
        (task / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    card = {
        "name": "small",
        "labels": ["yes", "no"],
        "inputs": ["sentence"],
        "metric": "accuracy",
        "template": "small: sentence: {sentence}",
    }
    (task / "task.json").write_text(json.dumps(card))
    return folder
