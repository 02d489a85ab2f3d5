"""Writes docs/methods.md from the specs of all delta methods: `python benchmarks/methods_table.py`."""

from pathlib import Path

from autodelta.candidate import Delta
from autodelta.deltas.peft_format import METHODS
from autodelta.deltas.spec import EMBEDDINGS, KEYS_VALUES, LINEAR, LOOKUPS, NORMS, SUBLAYERS, MethodSpec, specs
from autodelta.shape import BackboneShape
from tests.deltas.breakages import BREAKAGES

PAGE = Path(__file__).parent.parent / "docs" / "methods.md"
T5_BASE = BackboneShape(
    vocab_size=32128,
    d_model=768,
    d_kv=64,
    d_ff=3072,
    num_heads=12,
    encoder_blocks=12,
    decoder_blocks=12,
    gated=False,
    tied=True,
    relative_buckets=32,
)
PARTS = {
    "linear layers": LINEAR,
    "linear layers but lm_head": LINEAR - {"lm_head"},
    "norms": NORMS,
    "tables (tokens, positions)": LOOKUPS,
    "sublayers": SUBLAYERS,
    "keys and values": KEYS_VALUES,
    "input embeddings": EMBEDDINGS,
}
INTRODUCTION = """# Delta methods

What each method computes, where it may stand, what it costs and what becomes of it. This page is written by
`python benchmarks/methods_table.py` from the methods' specs (`autodelta/deltas/*/spec.py`); a test holds it to them.

x and y are input and frozen output of a site, W its frozen weight, h a bottleneck's input, K and V keys and values, E
input embeddings. *Parts* are the roles a method accepts, in any block of either stack that has them; sizes and variants
are in the spec's config. *Parameters* are counted for T5-base at the default sizes, at the paper's usual roles.
*Identity*: a fresh delta leaves the output as it was, bit for bit. *Merge*: `autodelta.deltas.merge` can fold it into
the weights; BitFit's biases only where a layer can have one, which norms cannot. *Pack*: candidates of any sizes can
share one pass; prompts and prefixes make sequences longer, so those that share a pass must be of one length. *peft*:
the kind of folder that `autodelta.deltas.peft_format` writes and reads.
"""
BREAKAGES_TEXT = """
## Breakages

Every method's tests were made to fail on purpose. Each line is a change of the code under which the named tests go red;
`python -m pytest -m slow tests/deltas/test_breakages.py` tries them all again on a copy.
"""


def page() -> str:
    rows = [_row(spec) for spec in specs().values()]
    broken = [f"| `{b.file}` | {b.what} | `{b.tests}` |" for b in BREAKAGES]
    return "\n".join(
        [
            INTRODUCTION,
            "| method | formula | parts | parameters on T5-base | identity | merge | pack | peft | source |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            BREAKAGES_TEXT,
            "| file | what was broken | tests that go red |",
            "| --- | --- | --- |",
            *broken,
            "",
        ]
    )


def _row(spec: MethodSpec) -> str:
    delta = Delta(method=spec.name, roles=spec.usual, config=spec.config(), learning_rate=1e-3)
    count = delta.count_parameters(T5_BASE)
    everything = Delta(method="full", roles=specs()["full"].usual, config=specs()["full"].config(), learning_rate=1e-3)
    share = count / everything.count_parameters(T5_BASE)
    cells = (
        f"**{spec.name}**",
        spec.formula,
        _parts(spec.parts),
        f"{count:,} ({share:.2%}): {_sentence(spec)}",
        "yes" if spec.identity_at_start else "no",
        spec.mergeable,
        "equal lengths" if spec.parts & (EMBEDDINGS | KEYS_VALUES) else "yes",
        METHODS.get(spec.name, "no"),
        spec.source,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _parts(parts: frozenset[str]) -> str:
    """Parts by their kinds, and what is left by name."""
    said, left = [], set(parts)
    for name, kind in PARTS.items():
        if kind <= left:
            said.append(name)
            left -= kind
    return ", ".join([*said, *sorted(left)])


def _sentence(spec: MethodSpec) -> str:
    """The rule behind the count, which is what the spec's docstring says."""
    text = " ".join((type(spec).__doc__ or "").split())
    return text.rstrip(".")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf8")
