"""Loads a frozen T5 by hub id, path or bundled name, in a dtype that the device is fast and safe at."""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from packaging.version import Version
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.utils import logging

from autodelta import hub
from autodelta.errors import UserError, one_of
from autodelta.files import sha256
from autodelta.shape import BackboneShape

FAMILY = ("t5", "mt5", "umt5")  # flan, LM-adapted and ByT5 checkpoints are of type t5
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
ATTENTION = {"cpu": "eager", "cuda": "sdpa"}  # whichever is the faster one there at the lengths of tasks
TRANSFORMERS = Version(importlib.metadata.version("transformers"))
UMT5_IS_CAUSAL = Version("5.18.0")  # measured: docs/decisions/0003
SPECIAL = ("pad_token_id", "decoder_start_token_id")  # tokens that training needs
READERS = ("sentencepiece", "protobuf", "tiktoken")  # transformers tries the last one where one of the others lacks
BUNDLED = Path(__file__).parent


@dataclass(frozen=True)
class Backbone:
    """A frozen pretrained encoder-decoder with its tokenizer; no parameter requires a gradient."""

    name: str
    model: Any  # a T5ForConditionalGeneration or one of its kin
    tokenizer: Any
    shape: BackboneShape
    device: torch.device
    dtype: torch.dtype

    @property
    def dtype_name(self) -> str:
        """bf16 or fp32."""
        return next(name for name, dtype in DTYPES.items() if dtype == self.dtype)

    @cached_property
    def sha256(self) -> str:
        """What identifies the weights, whatever dtype they were loaded in."""
        return weights_sha256(self.model)


def weights_sha256(model: nn.Module) -> str:
    """Hash of a model's parameters rounded to bfloat16: the same for one checkpoint loaded as bf16 or as fp32."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        digest.update(parameter.detach().to("cpu", torch.bfloat16).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def bundled() -> tuple[str, ...]:
    """The names of the backbones that ship with the package."""
    return tuple(sorted(path.parent.name for path in BUNDLED.glob("*/model.safetensors")))


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it faster than float32, else float32; never float16, where T5 overflows."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if device.type == "cpu" and fast else torch.float32


def load(name: str, *, dtype: str | None = None, device: str = "cpu", allow_pickle: bool = False) -> Backbone:
    """The backbone of that name, frozen and in evaluation mode.

    Args:
        name: a bundled name, a folder with a Hugging Face checkpoint, or a hub id.
        dtype: ``bf16`` or ``fp32``; by default what the device is fast at.
        allow_pickle: also accept a checkpoint that exists only as ``pytorch_model.bin``.

    Raises:
        UserError: no such checkpoint is at hand, it is no T5 or has half a config, or the dtype is none of the two.
    """
    if dtype is not None and dtype not in DTYPES:
        raise one_of("dtype", dtype, DTYPES)
    where = torch.device(device)
    kind = DTYPES[dtype] if dtype else best_dtype(where)
    source, where_from = _source(name)
    if name in bundled():
        _check_bundled(BUNDLED / name)
    config = _read(lambda: AutoConfig.from_pretrained(source, **where_from), name)
    if config.model_type not in FAMILY:
        raise UserError(
            f"backbone {name!r} is a {config.model_type!r}; only the T5 family is supported: {', '.join(FAMILY)}"
        )
    if config.model_type == "umt5" and TRANSFORMERS < UMT5_IS_CAUSAL:
        raise UserError(
            f"UMT5's decoder sees later tokens in transformers {TRANSFORMERS}; it needs {UMT5_IS_CAUSAL} or later"
        )
    for token in SPECIAL:
        if getattr(config, token, None) is None:
            raise UserError(f"the config of backbone {name!r} has no {token}; T5's is 0: write it into its config.json")
    weights: dict[str, Any] = where_from if allow_pickle else {**where_from, "use_safetensors": True}
    model = _read(
        lambda: AutoModelForSeq2SeqLM.from_pretrained(
            source, config=config, dtype=kind, attn_implementation=ATTENTION[where.type], **weights
        ),
        name,
    )
    tokenizer = _read(lambda: AutoTokenizer.from_pretrained(source, **where_from), name)
    model.requires_grad_(False).eval().to(where)
    return Backbone(_full(name), model, tokenizer, BackboneShape.of(model), where, kind)


def _full(name: str) -> str:
    """A folder by its full path, which recipes are to name, as they are used elsewhere; other names as they are."""
    return name if name in bundled() or not Path(name).is_dir() else str(Path(name).absolute())


def _source(name: str) -> tuple[str, dict[str, Any]]:
    """What transformers is asked for, and how: never remote code, and the hub only where it answers."""
    if name in bundled():
        return str(BUNDLED / name), {"trust_remote_code": False, "local_files_only": True}
    local = Path(name).is_dir() or not hub.reachable()
    return name, {"trust_remote_code": False, "local_files_only": local}


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no warnings of transformers while a checkpoint is read."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _read(action: Any, name: str) -> Any:
    """Runs a loading step; whatever is missing or unreachable becomes one line that says what to do."""
    try:
        with _quiet():
            return action()
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"the weights of backbone {name!r} are damaged, only a git-LFS pointer, or not of its config's sizes: "
            f"{reason[:200]}"
        ) from error
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())
        if any(f"`{package}`" in reason or f"{package} library" in reason for package in READERS):
            raise UserError(
                f"the tokenizer of backbone {name!r} is a SentencePiece model; to read it install sentencepiece and "
                f"protobuf ({reason[:200]})"
            ) from error
        if "no file named model.safetensors" in reason or ("safetensors" in reason and "pytorch_model" in reason):
            raise UserError(
                f"backbone {name!r} has no safetensors weights; convert it, or accept pickled ones with --allow-pickle"
            ) from error
        known = ", ".join(bundled())
        if Path(name).is_dir():
            raise UserError(f"backbone {name!r} is no readable Hugging Face checkpoint: {reason[:200]}") from error
        raise UserError(
            f"backbone {name!r} is neither bundled ({known}), nor a folder, nor in the local Hugging Face cache, "
            "and the hub gave none; check the name and the network, or give a path"
        ) from error


def _check_bundled(folder: Path) -> None:
    """The shipped weights are the ones that were exported.

    Raises:
        UserError: they are not.
    """
    stated = json.loads((folder / "training.json").read_text(encoding="utf8"))["sha256"]
    found = sha256(folder / "model.safetensors")
    if found != stated:
        raise UserError(
            f"bundled backbone {folder.name!r} is damaged: sha256 {found[:12]}, not {stated[:12]}; reinstall"
        )
