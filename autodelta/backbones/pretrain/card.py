"""The model card of a pretrained backbone, made from its plan and the facts of its training."""

from typing import Any

from autodelta.backbones.pretrain.plan import Plan


def card(plan: Plan, facts: dict[str, Any], *, parameters: int) -> str:
    """The card, in Markdown. ``facts`` are those of ``training.json``."""
    shape, spans, mixture = plan.shape, plan.spans, plan.mixture
    stages = [(stage, facts[stage]) for stage in ("stable", "anneal") if stage in facts]
    tokens = sum(progress["tokens"] for _, progress in stages)
    lines = [
        "---",
        "license: apache-2.0",
        "language: en",
        "library_name: transformers",
        "tags: [t5, text2text-generation, autodelta]",
        "---",
        f"# {plan.name}",
        "",
        f"A T5 of {parameters / 1e6:.1f} million parameters: {shape['num_layers']} encoder and "
        f"{shape['num_decoder_layers']} decoder blocks of width {shape['d_model']}, "
        f"feed-forward {shape['feed_forward_proj']} of {shape['d_ff']}, "
        f"{shape['num_heads']} heads of {shape['d_kv']}, tied embeddings, "
        f"{plan.tokenizer.pieces + 100:,} lower-cased unigram pieces with single digits and T5's 100 sentinels.",
        "It ships with AutoDelta so that searches, tests and examples run with nothing downloaded.",
        "",
        "## Training",
        "",
        "The embeddings start from the company that words keep in the text, and move little; the attention starts from "
        "a sense of place.",
        f"Span corruption ({spans.corruption_rate:.0%} of the tokens, mean span {spans.mean_span_length}, inputs of "
        f"{', '.join(map(str, sorted(set(mixture.input_lengths))))} tokens) and, in {mixture.format_share:.0%} of the "
        "steps, text-to-text questions about passages of the text, most of which ask for what the whole passage says; "
        "last a stage whose step size falls to zero.",
        "",
        "| stage | steps | input tokens | hours |",
        "|---|---|---|---|",
        *(
            f"| {stage} | {p['step']:,} | {p['tokens'] / 1e6:.1f} M | {p['seconds'] / 3600:.1f} |"
            for stage, p in stages
        ),
        "",
        f"{tokens / 1e6:.0f} million input tokens in all. Loss of span corruption on held-out documents: "
        f"{facts['held_out_loss']:.3f} nats a target token (`curve.csv` has the whole curve). How and why: "
        "`docs/decisions/0006-pretraining-nano.md`; again: `python -m autodelta.backbones.pretrain --help` with "
        "`pretrain.yaml`.",
        "",
        "## Text and its licences",
        "",
        "| source | megabytes | licence | attribution |",
        "|---|---|---|---|",
        *(f"| {t.source} | {t.megabytes:.0f} | {t.licence} | {t.attribution} |" for t in plan.text),
        "",
        "Only free text, a random sample of each source. Documents that share 50 characters in a row with a validation "
        "or test input of the labelled tasks that AutoDelta is measured on were left out. The text itself is not in "
        "the package.",
        "",
        "## What it can and cannot do",
        "",
        "It knows common English words, their company and simple syntax: enough for delta methods, insertion points "
        "and sizes to differ on classification of short texts. It knows next to no facts, does not reason, is weak "
        "at natural-language inference, sees no capitals, and writes no usable text. It reflects its sources, "
        "old books and an old encyclopedia among them. It is a test bed, not a model for use.",
    ]
    return "\n".join(lines) + "\n"
