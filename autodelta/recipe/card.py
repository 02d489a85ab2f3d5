"""A recipe's README: its model card."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autodelta.candidate import TEXT, TOGETHER

if TYPE_CHECKING:
    from autodelta.candidate import Candidate
    from autodelta.recipe.recipe import BackboneReference, Recipe, ScoreLine

AMONG_LABELS = (
    "The loss was over the task's label words alone: labels are ranked among themselves, as `autodelta predict` does; "
    "what the model generates freely may be no label."
)


def card(recipe: "Recipe") -> str:
    """The model card, in Markdown."""
    if not recipe.scores:
        return _suggestion(recipe)
    plan = recipe.candidate.training
    parts = [
        *_header(recipe),
        *_deltas(recipe.candidate),
        "",
        *_scores(recipe.scores),
        "",
        *_statement("What the search says:", recipe.statement),
        f"Trained {_rows(recipe)}for {plan.steps} steps of {plan.batch_size} rows ({plan.schedule} schedule, warm-up "
        f"{plan.warmup:.0%}, weight decay {plan.weight_decay:g}), seed {recipe.seed}. Seeds and candidates are "
        "chosen by the score on validation, which is therefore optimistic; the score on test was taken once.",
        *([] if plan.sequence == TOGETHER else [f"The methods were trained one after another: {plan.sequence}."]),
        *([] if plan.loss == TEXT else [AMONG_LABELS]),
        "",
        "## Use",
        "",
        *_usage(recipe.backbone),
        "",
        f"Input template: {_code(recipe.task['template'])}. The model answers with {_answers(recipe.task)}.",
        "",
        "From the command line: `autodelta predict --recipe DIR --task TASK --split test`, with `--data` where the "
        "task is in files; or `autodelta predict --recipe DIR --rows FILE` for rows without labels, in a file with the "
        f"columns {', '.join(map(_code, recipe.task['inputs']))}.",
        "",
        f"Versions: {', '.join(f'{library} {version}' for library, version in recipe.versions.items())}.",
    ]
    return "\n".join(parts) + "\n"


def _rows(recipe: "Recipe") -> str:
    return "" if recipe.train_rows is None else f"on {recipe.train_rows:,} rows, drawn by class, "


def _header(recipe: "Recipe") -> list[str]:
    return [
        "---",
        "library_name: autodelta",
        f"base_model: {_plain_or_quoted(recipe.backbone.name)}",
        "tags: [parameter-efficient-fine-tuning, delta-tuning, t5]",
        "---",
        f"# {' + '.join(recipe.candidate.methods)} for {recipe.task['name']}",
        "",
        f"A composition of delta-tuning methods for the T5 `{recipe.backbone.name}`, with {recipe.parameters:,} "
        "trainable parameters.",
        "",
    ]


def _suggestion(recipe: "Recipe") -> str:
    """The card of a recipe that nobody has trained yet."""
    plan = recipe.candidate.training
    parts = [
        *_header(recipe),
        "This is a suggestion from recorded trials of tasks; nobody has trained it yet, so there are no weights. "
        "`autodelta train --recipe DIR --to TRAINED` does (with `--data` where the task is in files).",
        "",
        *_deltas(recipe.candidate),
        "",
        *_statement("Why this one:", recipe.statement),
        f"To be trained for {plan.steps} steps of {plan.batch_size} rows ({plan.schedule} schedule, warm-up "
        f"{plan.warmup:.0%}, weight decay {plan.weight_decay:g}), seed {recipe.seed}.",
    ]
    return "\n".join(parts) + "\n"


def _statement(head: str, lines: Sequence[str]) -> list[str]:
    return [head, "", *(f"- {line}" for line in lines), ""] if lines else []


def _deltas(candidate: "Candidate") -> list[str]:
    lines = ["| delta | roles | blocks | sizes | learning rate |", "|---|---|---|---|---|"]
    for delta in candidate.deltas:
        chosen = {"encoder": delta.encoder_blocks, "decoder": delta.decoder_blocks}
        blocks = "; ".join(
            f"{stack} {'all' if numbers is None else ', '.join(map(str, numbers))}"
            for stack, numbers in chosen.items()
            if any(role.startswith(stack) for role in delta.roles)
        )
        sizes = ", ".join(f"{key} {value}" for key, value in delta.config.model_dump().items()) or "-"
        lines.append(f"| {delta.method} | {delta.where} | {blocks} | {sizes} | {delta.learning_rate:.2g} |")
    return lines


def _scores(scores: "tuple[ScoreLine, ...]") -> list[str]:
    lines = ["| split | metric | score | rows | seeds |", "|---|---|---|---|---|"]
    return lines + [
        f"| {line.split} | {line.metric} | {line.value:.4f} | {line.rows} | {', '.join(map(str, line.seeds))} |"
        for line in scores
    ]


def _code(text: str) -> str:
    """A text as code in a line of Markdown, also one that holds backquotes or lines."""
    line = text.replace("\n", "\\n")
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " if len(fence) > 1 else ""
    return f"{fence}{space}{line}{space}{fence}"


def _plain_or_quoted(name: str) -> str:
    """A name as a value in YAML: as it is where that can be nothing else, as the hub's names."""
    return name if re.fullmatch(r"[\w./-]*[A-Za-z][\w./-]*", name) else json.dumps(name, ensure_ascii=False)


def _answers(view: Mapping[str, Any]) -> str:
    """What the model writes."""
    if not view["labels"]:
        return f"a text of at most {view['max_new_tokens']} tokens"
    return f"one of: {', '.join(map(_code, view['words'].values()))}"


def _usage(backbone: "BackboneReference") -> list[str]:
    load = f"model = autodelta.backbones.load({json.dumps(backbone.name, ensure_ascii=False)}).model"
    apply = 'attached = autodelta.Recipe.load("PATH/OF/THIS/FOLDER").apply(model)  # .detach() takes it off'
    return ["```python", "import autodelta", "", load, apply, "```"]
