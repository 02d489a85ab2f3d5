import io

from rich.console import Console

from autodelta.report.interactions import sentences, tables
from autodelta.search.importance import Importance, Rung
from autodelta.search.interactions import Effect, Interactions, Pair

GAIN, LOSS = Effect(mean=0.012, low=0.003, high=0.02), Effect(mean=-0.03, low=-0.04, high=-0.02)
FOUND = Interactions(
    trials=90,
    step=30,
    compared=60,
    level=0.9,
    rungs=(
        Rung(step=10, trials=90, genes=(Importance(gene="lora", kind="method", value=0.1, p=0.2),)),
        Rung(step=30, trials=60, genes=(Importance(gene="lora", kind="method", value=0.4, p=0.002),)),
    ),
    pairs=(
        Pair(methods=("adapter", "lora"), trials=20, gain=GAIN, effect=GAIN),
        Pair(methods=("bitfit", "lora"), trials=20, gain=LOSS),
        Pair(methods=("lora", "prompt"), trials=2),
    ),
)


def printed(found: Interactions) -> str:
    screen = Console(file=io.StringIO(), width=140)
    for table in tables(found):
        screen.print(table)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def test_tables_show_every_rung_and_every_pair_with_its_interval() -> None:
    text = printed(FOUND)
    assert "step 10 (90 trials)" in text
    assert "0.40*" in text
    assert "0.10*" not in text
    assert "+1.2 (+0.3 to +2.0)" in text
    assert "hurt each other" in text
    assert "too few trials" in text
    assert "60 of 90 trials" in text


def test_sentences_say_only_what_is_beyond_noise() -> None:
    assert sentences(FOUND) == [
        "what decides who is among the best at step 30: lora",
        "adapter and lora help each other: +1.2 (+0.3 to +2.0) points against the better one alone",
        "bitfit and lora hurt each other: -3.0 (-4.0 to -2.0) points against the better one alone",
        "1 of 3 pairs: too few trials to say",
    ]


def test_too_few_trials_are_said_to_be_too_few() -> None:
    nothing = Interactions(trials=5, step=None, compared=0, level=0.9, rungs=(), pairs=())
    assert tables(nothing) == []
    assert sentences(nothing) == ["5 trials are too few to say what matters: that takes 20 that came to one step"]
