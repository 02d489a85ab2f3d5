"""Reads and writes peft's folders: LoRA (rsLoRA, DoRA), (IA)³ and prompt tuning, where peft can hold what we hold.

A prefix is not among them. On a T5, peft 0.21 gives block i of n the prefix of block 2 i mod n, and lets a prefix take
the positions before the first token, where ours stands nowhere: the same tensors would mean another model.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from autodelta.backbones import roles
from autodelta.candidate import Candidate, Delta, Training
from autodelta.deltas.ia3.spec import Ia3Config
from autodelta.deltas.lora.spec import LoraConfig
from autodelta.deltas.prompt.spec import PromptConfig
from autodelta.deltas.spec import MethodConfig
from autodelta.errors import UserError, one_of
from autodelta.files import write_text, write_whole
from autodelta.shape import BackboneShape, Site, Stack

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
METHODS = {"lora": "LORA", "ia3": "IA3", "prompt": "PROMPT_TUNING"}  # ours and peft's names
_PREFIX = "base_model.model."
_LORA = {"lora_A.weight": "a", "lora_B.weight": "b", "lora_magnitude_vector": "magnitude"}
_CHANGE_THE_BACKBONE = ("pissa", "olora", "corda", "loftq", "lora_ga")  # initialisations, with settings behind the name
_PROMPT_SITE = Site("encoder", None, "embeddings")


def to_peft(hf_model: Any, candidate: Candidate, state: Mapping[str, Tensor], folder: str | os.PathLike[str]) -> None:
    """Writes trained deltas as a folder that ``peft.PeftModel.from_pretrained`` loads.

    Args:
        hf_model: the backbone, whose module names peft needs.
        candidate: one of LoRA, (IA)³, or a prompt at the encoder's input, and nothing else.
        state: its tensors, from ``Attached.state_dict``.
        folder: where to write ``adapter_config.json`` and ``adapter_model.safetensors``; those that stand there are
            replaced.

    Raises:
        UserError: peft has no form for the candidate.
    """
    check_holds(candidate)
    paths = _paths(hf_model)
    (method,) = candidate.methods
    if method == "prompt":
        config, tensors = _prompt_to_peft(candidate, state, hf_model)
    else:
        found = _tensors(candidate, state)
        config = (_lora_to_peft if method == "lora" else _ia3_to_peft)(
            candidate, {s: paths[s] for s in _sites(found)}, found
        )
        names = {ours: theirs for theirs, ours in _LORA.items()} | {"scale": "ia3_l"}
        tensors = {
            f"{_PREFIX}{paths[site]}.{names[name]}": _as_peft(site, name, tensor)
            for (site, name), (_, tensor) in found.items()
        }
    config.inference_mode = True
    config.base_model_name_or_path = hf_model.config.name_or_path
    _write(Path(folder), config, {name: tensor.detach().contiguous() for name, tensor in tensors.items()})


def _write(folder: Path, config: Any, tensors: dict[str, Tensor]) -> None:
    """Both files, whole; no crash leaves a config beside weights that are not its own."""
    from safetensors.torch import save_file

    with TemporaryDirectory() as place:
        config.save_pretrained(place)
        text = (Path(place) / CONFIG).read_text(encoding="utf8")
    folder.mkdir(parents=True, exist_ok=True)

    def save(path: Path) -> None:
        save_file(tensors, path, metadata={"format": "pt"})
        (folder / CONFIG).unlink(missing_ok=True)  # before the old weights are replaced

    write_whole(folder / WEIGHTS, save)
    write_text(folder / CONFIG, text)


def from_peft(
    hf_model: Any, folder: str | os.PathLike[str], *, training: Training, learning_rate: float
) -> tuple[Candidate, dict[str, Tensor]]:
    """A candidate and its tensors from a folder that peft wrote; how it would be trained is for the caller to say.

    Raises:
        UserError: there is no such folder, or it holds what our deltas do not.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf8"))
        tensors = load_file(str(folder / WEIGHTS))
    except (OSError, json.JSONDecodeError, SafetensorError) as error:
        raise UserError(f"a peft folder has {CONFIG} and {WEIGHTS}: {error}") from error
    names = {theirs: ours for ours, theirs in METHODS.items()}
    if config.get("peft_type") not in names:
        raise one_of("kind of peft folder", str(config.get("peft_type")), names)
    method = names[config["peft_type"]]
    for key in ("bias", "modules_to_save", "trainable_token_indices", "layer_replication"):
        if config.get(key) not in (None, "none", []):
            raise UserError(f"deltas hold no {key}, which this peft folder has: {config[key]!r}")
    if method == "lora":
        _check_lora(config)
    found = dict(_prompt_from_peft(config, tensors) if method == "prompt" else _read(hf_model, config, tensors))
    return _candidate(method, found, BackboneShape.of(hf_model), training, learning_rate)


Found = dict[tuple[Site, str], tuple[MethodConfig, Tensor]]  # by site and our name of the tensor


def check_holds(candidate: Candidate) -> None:
    """Raises UserError where peft has no form for a candidate."""
    if len(candidate.methods) != 1 or candidate.methods[0] not in METHODS:
        raise UserError(f"peft holds one of {', '.join(METHODS)} at a time, not {' + '.join(candidate.methods)}")
    if candidate.methods[0] == "prompt" and any(d.roles != (_PROMPT_SITE.role,) for d in candidate.deltas):
        raise UserError(f"peft holds a T5's prompt at {_PROMPT_SITE.role} alone, not {candidate.deltas[0].roles}")
    flags = {(d.config.rslora, d.config.dora) for d in candidate.deltas if isinstance(d.config, LoraConfig)}
    if len(flags) > 1:
        raise UserError("peft holds LoRAs of one kind at a time: rslora and dora must be the same for all")


def _paths(hf_model: Any) -> dict[Site, str]:
    names = {module: name for name, module in hf_model.named_modules()}
    return {site: names[module] for site, module in roles.modules(hf_model).items()}


def _sites(found: Found) -> list[Site]:
    return list(dict.fromkeys(site for site, _ in found))


def _tensors(candidate: Candidate, state: Mapping[str, Tensor]) -> Found:
    found: Found = {}
    for key, tensor in state.items():
        number, _, rest = key.split(".", 2)
        site, name = rest.rsplit(".", 1)
        found[Site.parse(site), name] = (candidate.deltas[int(number)].config, tensor)
    return found


def _lora_to_peft(candidate: Candidate, paths: dict[Site, str], found: Found) -> Any:
    from peft import LoraConfig as PeftLora

    configs = {paths[site]: config for (site, _), (config, _) in found.items() if isinstance(config, LoraConfig)}
    first = next(iter(configs.values()))
    return PeftLora(
        task_type="SEQ_2_SEQ_LM",
        r=first.rank,
        lora_alpha=first.alpha,  # type: ignore[arg-type]  # it takes fractions, too
        target_modules=list(configs),
        rank_pattern={path: config.rank for path, config in configs.items() if config.rank != first.rank},
        alpha_pattern={path: config.alpha for path, config in configs.items() if config.alpha != first.alpha},
        use_rslora=first.rslora,
        use_dora=first.dora,
    )


def _ia3_to_peft(candidate: Candidate, paths: dict[Site, str], found: Found) -> Any:
    from peft import IA3Config as PeftIa3

    return PeftIa3(
        task_type="SEQ_2_SEQ_LM",
        target_modules=list(paths.values()),
        feedforward_modules=[path for site, path in paths.items() if site.part == "ffn.out"],
    )


def _prompt_to_peft(candidate: Candidate, state: Mapping[str, Tensor], hf_model: Any) -> tuple[Any, dict[str, Tensor]]:
    from peft import PromptTuningConfig

    (embeddings,) = state.values()
    config = PromptTuningConfig(
        task_type="SEQ_2_SEQ_LM",
        num_virtual_tokens=embeddings.shape[0],
        num_transformer_submodules=1,
        token_dim=embeddings.shape[1],
        num_attention_heads=hf_model.config.num_heads,
        num_layers=hf_model.config.num_layers,
    )
    return config, {"prompt_embeddings": embeddings}


def _as_peft(site: Site, name: str, tensor: Tensor) -> Tensor:
    """peft keeps a scale as a column, or as a row where it rescales the input."""
    if name != "scale":
        return tensor
    return tensor.view(1, -1) if site.part == "ffn.out" else tensor.view(-1, 1)


def _read(
    hf_model: Any, config: dict[str, Any], tensors: Mapping[str, Tensor]
) -> Iterator[tuple[tuple[Site, str], tuple[MethodConfig, Tensor]]]:
    sites = {path: site for site, path in _paths(hf_model).items()}
    for key, tensor in tensors.items():
        path, name = _split(key)
        if path not in sites:
            raise UserError(f"the peft folder has weights for {path!r}, which this backbone has not")
        if name == "scale":
            feedforward = path in (config.get("feedforward_modules") or ()) or tensor.shape[0] == 1
            if feedforward != (sites[path].part == "ffn.out"):
                raise UserError(f"(IA)3 rescales the input at ffn.out alone, not at {sites[path]}")
            yield (sites[path], name), (Ia3Config(), tensor.flatten())
        else:
            yield (sites[path], name), (_lora_from_peft(config, path, tensors), tensor)


def _check_lora(config: dict[str, Any]) -> None:
    if "lora_alpha" not in config:
        raise UserError("the peft folder's adapter_config.json has no lora_alpha")
    start = str(config.get("init_lora_weights", True)).lower()
    if start.startswith(_CHANGE_THE_BACKBONE):
        raise UserError(
            f"init_lora_weights={start!r} changes the backbone's weights, too; save it in peft as a plain LoRA first"
        )


def _split(key: str) -> tuple[str, str]:
    for ending, name in {**_LORA, "ia3_l": "scale"}.items():
        if key.startswith(_PREFIX) and key.endswith(f".{ending}"):
            return key.removeprefix(_PREFIX).removesuffix(f".{ending}"), name
    raise UserError(f"the peft folder has a tensor that no delta has: {key!r}")


def _lora_from_peft(config: dict[str, Any], path: str, tensors: Mapping[str, Tensor]) -> LoraConfig:
    pattern = config.get("alpha_pattern") or {}
    alpha = next((value for key, value in pattern.items() if re.match(rf"(.*\.)?({key})$", path)), None)
    return LoraConfig(
        rank=tensors[f"{_PREFIX}{path}.lora_A.weight"].shape[0],
        alpha=config["lora_alpha"] if alpha is None else alpha,
        rslora=bool(config.get("use_rslora")),
        dora=bool(config.get("use_dora")),
    )


def _prompt_from_peft(
    config: dict[str, Any], tensors: Mapping[str, Tensor]
) -> Iterator[tuple[tuple[Site, str], tuple[MethodConfig, Tensor]]]:
    if "prompt_embeddings" not in tensors:
        raise UserError("the peft folder has no tensor 'prompt_embeddings'")
    embeddings = tensors["prompt_embeddings"]
    if config.get("num_transformer_submodules") == 2:  # peft trains the second half and never reads it
        embeddings = embeddings[: config["num_virtual_tokens"]]
    yield (_PROMPT_SITE, "embeddings"), (PromptConfig(length=embeddings.shape[0]), embeddings)


def _candidate(
    method: str, found: Found, shape: BackboneShape, training: Training, learning_rate: float
) -> tuple[Candidate, dict[str, Tensor]]:
    """One delta for every size and every choice of blocks; roles that share both stand together."""
    blocks: dict[tuple[MethodConfig, str], set[int]] = {}
    for (site, _), (config, _) in found.items():
        blocks.setdefault((config, site.role), set()).update(() if site.block is None else (site.block,))
    groups: dict[tuple[MethodConfig, tuple[tuple[str, tuple[int, ...]], ...]], list[str]] = {}
    for (config, role), numbers in blocks.items():
        name: Stack = "encoder" if role.startswith("encoder.") else "decoder"
        everywhere = not numbers or len(numbers) == shape.blocks(name)
        chosen = () if everywhere else ((f"{name}_blocks", tuple(sorted(numbers))),)
        groups.setdefault((config, chosen), []).append(role)
    deltas = [
        Delta(method=method, roles=tuple(names), config=config, learning_rate=learning_rate, **dict(chosen))
        for (config, chosen), names in groups.items()
    ]
    candidate = Candidate(deltas=tuple(deltas), training=training)
    numbers_of = {site: number for number, delta in enumerate(candidate.deltas) for site in delta.sites(shape)}
    state = {f"{numbers_of[site]}.{method}.{site}.{name}": tensor for (site, name), (_, tensor) in found.items()}
    return candidate, state
