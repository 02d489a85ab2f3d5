"""What is known of a task before any trial: its features, what the frozen encoder makes of it, the backbone's shape."""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from autodelta.errors import UserError
from autodelta.meta.features import backbone_features, encoder_features, features
from autodelta.tasks import Task

if TYPE_CHECKING:
    from autodelta.backbones import Backbone

ENCODED_ROWS = 256  # of train, that the frozen encoder looks at
ROWS_AT_ONCE = 32


def known(task: Task, backbone: "Backbone") -> tuple[dict[str, float], tuple[float, ...]]:
    """Features of a task on a backbone, by name, and the mean of the frozen encoder's vectors (d_model,): from train
    and validation alone, in seconds; words are counted while the encoder works.

    Raises:
        UserError: the task is open-ended: most features are of its labels.
    """
    check(task)
    with ThreadPoolExecutor(max_workers=1) as beside:
        counted = beside.submit(features, task)
        vectors, labels = encoded(task, backbone)
        found = {**counted.result(), **encoder_features(vectors, labels), **backbone_features(backbone.shape)}
    return found, tuple(float(value) for value in vectors.mean(axis=0))


def check(task: Task) -> None:
    """Raises UserError where nothing is known of such a task before any trial."""
    if task.open_ended:
        raise UserError(f"{task.name!r} is open-ended, and what is known is of tasks with labels")


def encoded(task: Task, backbone: "Backbone") -> tuple[Any, list[str]]:
    """Vectors (rows, d_model) of a sample of train, each the mean over its tokens in the frozen encoder; and labels."""
    import numpy as np
    import torch

    from autodelta.engine.encode import encode_texts, padded
    from autodelta.engine.worker import single_threaded

    sample = task.limited(max(ENCODED_ROWS, len(task.labels)), 0).examples("train")
    inputs = encode_texts(backbone, [example.input for example in sample])
    padding = backbone.tokenizer.pad_token_id
    order = sorted(range(len(inputs)), key=lambda row: len(inputs[row]))  # else short rows are padded to the longest
    found = []
    with torch.no_grad(), single_threaded(backbone.device.type):
        for start in range(0, len(inputs), ROWS_AT_ONCE):
            batch = padded([inputs[row] for row in order[start : start + ROWS_AT_ONCE]], padding)
            ids, mask = (one.to(backbone.device) for one in batch)
            states = backbone.model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask[..., None].float()
            found.append(((states.float() * weights).sum(1) / weights.sum(1)).cpu().numpy())
    return np.concatenate(found)[np.argsort(order)], [example.label for example in sample]
