"""What every test runs under: one thread a process, no hub, no task folder of the user's, nothing sent home."""

import os

import pytest

# Read when torch, tokenizers, the hub and Ray are first imported, so they are set before any test module is.
os.environ.update(
    OMP_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    RAY_USAGE_STATS_ENABLED="0",
)


@pytest.fixture(autouse=True)
def _no_task_folder_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTODELTA_DATA", raising=False)
