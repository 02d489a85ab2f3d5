import re
from collections.abc import Callable

import pytest

from autodelta.errors import UserError
from autodelta.limits import Limits
from autodelta.space import Space

GOOD = """\
description: for tests
at_most: 1
methods:
  lora:
    stacks: [both, decoder]
    blocks: [all, 0-1]
    roles: ["*_attn.q", all]
    sizes:
      rank: {low: 1, high: 4, log: true}
      alpha: [8, 16]
    learning_rate: [1e-3, 1e-2]
  prompt:
    sizes: {length: [2, 4]}
    learning_rate: 0.1
training:
  steps: 20
  batch_size: 8
constraints:
  trainable_parameters: "<= 50%"
"""


def test_the_file_that_the_mistakes_are_made_in_is_good(space: Callable[..., Space]) -> None:
    assert space(GOOD).methods == ("lora", "prompt")


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("at_most", "at_mots", 2, "at_mots: unknown key 'at_mots'; did you mean 'at_most'? choose from: at_most, cons"),
        ("at_most: 1", "at_most: 3", 2, "at_most: 3 methods at once, but the space has 2"),
        ("at_most: 1", "at_most: 0", 2, "at_most: must be greater than or equal to 1, not 0"),
        ("at_most: 1", "at_most: many", 2, "at_most: must be a valid integer"),
        ("  lora:", "  lroa:", 4, "methods.lroa: unknown method 'lroa'; did you mean 'lora'? choose from: adapter,"),
        ("    stacks: [both, decoder]", "    stack: both", 5, "unknown key 'stack'; did you mean 'stacks'? choose fro"),
        ("[both, decoder]", "[both, decodr]", 5, "methods.lora.stacks: unknown stack 'decodr'; did you mean 'decoder'"),
        ("[both, decoder]", "[]", 5, "methods.lora.stacks: no choices; name at least one"),
        ("[both, decoder]", "{low: 1, high: 2}", 5, "methods.lora.stacks: must be a list of choices, not a range"),
        ("[both, decoder]", "[both, true]", 5, "methods.lora.stacks: must be words, not True"),
        ("[all, 0-1]", "[all, upper fifth]", 6, "methods.lora.blocks: unknown blocks 'upper fifth'; write for example"),
        ("[all, 0-1]", "[all, 7-9]", 4, "stands nowhere with stacks 'both', blocks '7-9' and roles '*_attn.q'"),
        ("[both, decoder]", "encoder", None, None),
        ('"*_attn.q"', "self_attn.w", 7, "methods.lora.roles: unknown role 'self_attn.w'; did you mean 'self_attn."),
        ('"*_attn.q"', "encoder.cross_attn.q", 4, "roles 'encoder.cross_attn.q' on this backbone of 5 + 3 blocks"),
        ("rank:", "rnak:", 9, "methods.lora.sizes.rnak: unknown key 'rnak'; did you mean 'rank'? choose from: alpha, "),
        ("low: 1,", "low: 0,", 9, "methods.lora.sizes.rank: a range on a log scale must start above 0, not at 0"),
        ("low: 1, high: 4, log: true", "low: 0, high: 4", 9, "sizes.rank: must be greater than or equal to 1, not 0"),
        ("{low: 1, high: 4, log: true}", "[1,\n  two]", 10, "sizes.rank: must be a valid integer, not 'two'"),
        ("{low: 1, high: 4, log: true}", "1.5", 9, "sizes.rank: must be a valid integer, not 1.5"),
        ("{low: 1, high: 4, log: true}", "{low: 1.5, high: 4}", 9, "sizes.rank: must be a valid integer, not 1.5"),
        ("low: 1, high: 4, log: true", "low: 1, hihg: 4", 9, "unknown key 'hihg' in a range; choose from: low, high,"),
        ("[8, 16]", "[8, -1]", 10, "methods.lora.sizes.alpha: must be greater than 0, not -1"),
        ("[8, 16]", "", 10, "methods.lora.sizes.alpha: must be a value, a list of choices, or {low, high, log, step}"),
        ("    learning_rate: [1e-3, 1e-2]\n", "", 4, "methods.lora: 'learning_rate' is missing"),
        ("[1e-3, 1e-2]", "[1e-3, 0]", 11, "methods.lora.learning_rate: must be greater than 0, not 0"),
        ("[1e-3, 1e-2]", "[1e-3, 1e999]", 11, "methods.lora.learning_rate: must be a valid number, not '1e999'"),
        ("[1e-3, 1e-2]", "fast", 11, "methods.lora.learning_rate: must be a valid number, not 'fast'"),
        ("    sizes: {length: [2, 4]}\n    learning_rate: 0.1\n", "", 12, "prompt: must be keys and values, not nothi"),
        ("  steps: 20", "  stpes: 20", 16, "training.stpes: unknown key 'stpes'; did you mean 'steps'? choose from: b"),
        ("  steps: 20\n", "", 15, "training: 'steps' is missing"),
        ("  steps: 20", "  steps: [20, 0]", 16, "training.steps: must be greater than 0, not 0"),
        ("  batch_size: 8", '  batch_size: "8"', 17, "training.batch_size: must be a valid integer, not '8'"),
        ("  batch_size: 8", "  schedule: [linear, cosien]", 15, "training: 'batch_size' is missing"),
        ("  steps: 20", "  steps: 20\n  schedule: [linear, cosien]", 17, "must be 'linear', 'cosine' or 'constant', n"),
        ("  steps: 20", "  steps: 20\n  sequence: lora > prompt", None, None),
        ("  steps: 20", "  steps: 20\n  sequence: [together, prefix > lora]", 17, "unknown method of this space"),
        ("  steps: 20", "  steps: {low: 10, high: 20, step: 2.5}", 16, "a range of whole numbers has a whole step"),
        ("  steps: 20", "  steps: 20\n  warmup: {low: 0, high: 1, step: 0.25}", None, None),
        ("  steps: 20", "  steps: 20\n  warmup: 1.5", 17, "training.warmup: must be less than or equal to 1, not 1.5"),
        ("trainable_parameters:", "parameters:", 19, "unknown key 'parameters'; did you mean 'trainable_parameters'?"),
        ('"<= 50%"', "50%", 19, "must read like '<= 1%', '<= 50k' or '<= 2.5M', not '50%'"),
        ('"<= 50%"', "5", 19, "must read like '<= 1%', '<= 50k' or '<= 2.5M', not 5"),
        ('"<= 50%"', '"<= 20"', 19, "allows 20 of the backbone's 74,944 parameters, but lora needs at least 176;"),
        ('"<= 50%"', '"<= 0%"', 19, "trainable_parameters: allows 0 of the backbone's"),
        ('"<= 50%"', '"<= 50%"\n  memory: 4GB', 20, "memory: must read like '<= 4GB', '<= 800MB' or '<= 4GiB', n"),
        ('"<= 50%"', '"<= 50%"\n  memory: "<= 0MB"', 20, "memory: allows 0 GB, but the backbone's weights alone take"),
        ('"<= 50%"', '"<= 50%"\n  memory: "<= 4"', 20, "memory: must read like '<= 4GB', '<= 800MB' or '<= 4GiB', not"),
        ('"<= 50%"', '"<= 50%"\n  memory:', 20, "memory: must read like '<= 4GB', '<= 800MB' or '<= 4GiB', not None"),
        ('"<= 50%"', '"<= 50%"\n  latency: 110%', 20, "latency: must read like '<= 110%', of the bare backbone's time"),
        ('"<= 50%"', '"<= 50%"\n  latency: "<= 1.1"', 20, "latency: must read like '<= 110%', of the bare backbone's"),
        ('"<= 50%"', '"<= 50%"\n  latency: "<= 90%"', 20, "latency: must be at least 100%, the bare backbone's own "),
        ("trainable_parameters:", "latncy:", 19, "unknown key 'latncy'; did you mean 'latency'? choose from: latency"),
        ("learning_rate: 0.1", "learning_rate: 0.1\n    sizes: {length: 1}", 15, "the key 'sizes' stands twice, first"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_place_and_value(
    space: Callable[..., Space], old: str, new: str, line: int | None, message: str | None
) -> None:
    assert GOOD.count(old) == 1
    if message is None:
        space(GOOD.replace(old, new))
        return
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        space(GOOD.replace(old, new))
    assert str(caught.value).startswith(f"own.yaml:{line}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n", "just words", "methods: {}\ndescription: x\ntraining: {}\n"])
def test_a_file_of_another_form_is_refused_in_one_line(space: Callable[..., Space], text: str) -> None:
    with pytest.raises(UserError, match=r"^own\.yaml:1: (must be keys and values|methods: no choices)"):
        space(text)


def test_the_first_of_several_mistakes_is_shown(space: Callable[..., Space]) -> None:
    with pytest.raises(UserError, match=r"^own\.yaml:2: "):
        space(GOOD.replace("trainable_parameters", "x").replace("learning_rate: 0.1", "y: 1").replace("at_most", "z"))


@pytest.mark.parametrize(
    ("said", "limits"),
    [
        ("", Limits()),
        ('  memory: "<= 4GB"\n', Limits(memory_bytes=4 * 10**9)),
        ('  memory: "<= 1.5 GiB"\n', Limits(memory_bytes=3 * 2**29)),
        ('  memory: "<=800MB"\n  latency: "<= 110%"\n', Limits(memory_bytes=8 * 10**8, latency_share=1.1)),
        ('  latency: "<= 100%"\n', Limits(latency_share=1.0)),
    ],
)
def test_limits_of_memory_and_latency_are_handed_on_as_numbers(
    space: Callable[..., Space], said: str, limits: Limits
) -> None:
    assert space(GOOD + said).limits == limits


def test_sizes_for_a_method_without_any_are_refused(space: Callable[..., Space]) -> None:
    with pytest.raises(UserError, match="unknown key 'rank'; there is nothing to choose here"):
        space("description: x\nmethods: {bitfit: {learning_rate: 1, sizes: {rank: 1}}}\n"
              "training: {steps: 1, batch_size: 1}\n")  # fmt: skip
