import io
import re
from typing import Any

from rich.console import Console
from rich.table import Table

from autodelta.report.tables import SHOWN, conclusion, leaderboard, rows, used


def printed(table: Table, *, width: int) -> list[str]:
    screen = Console(file=io.StringIO(), width=width)
    screen.print(table)
    assert isinstance(screen.file, io.StringIO)
    return [line.rstrip() for line in screen.file.getvalue().splitlines()]


def a_trial(number: int, state: str, reason: str = "", **more: int) -> dict[str, Any]:
    trial = {"number": number, "state": state, "reason": reason, "methods": ["lora"], "score": 0.5, "parameters": 8}
    return {**trial, "step": 28, "continues": None, **more}


def test_every_state_is_shown_with_a_reason_where_it_needs_one_though_the_table_is_cut() -> None:
    trials = [a_trial(number, "complete") for number in range(SHOWN + 1)]
    trials += [a_trial(30, "failed", "the loss is nan\nat step 4"), a_trial(31, "infeasible", "out of memory")]
    trials += [a_trial(32, "failed", "another"), a_trial(33, "pruned", "not among the best"), a_trial(34, "running")]
    trials += [a_trial(35, "pruned", "budget: it would take about 22 s", step=0), a_trial(36, "pruned", continues=33)]
    trials += [a_trial(37, "pruned", "another reason", step=0)]
    spent = {"wall_seconds": 60.0, "device_seconds": 60.0, "trials": len(trials) - 3}
    budget = {"spent": spent, "by_kind": {}, "text": "1min"}
    lines = conclusion({"trials": trials, "lines": [], "best": trials[0], "ended_early": "", "budget": budget})
    assert lines[1] == (
        "trials: 21 complete, 3 pruned, 1 infeasible (trial 31: out of memory), "
        "2 failed (trial 30: the loss is nan at step 4), 1 under way, 1 that the budget did not allow; "
        "26 count for the budget, as 1 goes on with an earlier one and 2 were never trained"
    )


def test_what_was_spent_stands_beside_the_budget() -> None:
    spent = {"wall_seconds": 70.0, "device_seconds": 7.0, "trials": 1}
    said = used({"spent": spent, "text": "8trials"}, " (training 4 s)")
    assert said == "spent: 1 min 10 s, 7 s of workers' time (training 4 s), 1 trial; budget: 8trials"


def test_on_a_narrow_terminal_a_trial_takes_a_line_and_its_reason_is_cut() -> None:
    reason = "latency: 117% of the bare backbone's time, at most 110%"
    trials = [a_trial(number, "infeasible", reason, device_seconds=0.0) for number in range(5)]
    table = leaderboard({"trials": trials, "front": trials[:1]})
    narrow, wide = printed(table, width=80), printed(table, width=160)
    assert sum("infeasible" in line for line in narrow) == sum("│" in line for line in narrow) == 5
    assert any("infeasible: latency: 117% of the bare" in line for line in wide)


def test_tables_are_no_wider_than_the_terminal_and_break_between_words() -> None:
    columns = ("train rows", "recommended", "parameters", "validation", "test", "it ties with", "best of its search")
    name = "lora + adapter (trial 12 of 100)"
    line = ("1,000", name, "287,082", "0.712 ± 0.013 (3)", "0.702 ± 0.023 (3)", name, name)
    shown = printed(rows("By labelled data", columns, [line]), width=80)
    assert max(map(len, shown)) <= 80
    words = " ".join(shown).split()
    assert {word for text in (*columns, *line) for word in text.split()} <= set(words)


def test_a_table_of_many_columns_gives_up_its_padding_before_it_cuts_words() -> None:
    columns = ("sampler", "pruner", *(f"@{number} trials" for number in (1, 5, 10, 25)), "@25% spent", "@100% spent")
    line = ("random", "hyperband", *["0.544 ±0.089"] * 6, "2.50 ±0.00", "10")
    shown = printed(rows("Regret", (*columns, "last rank", "trials"), [line]), width=80)
    assert max(map(len, shown)) <= 80
    words = set(re.split(r"[\s│┃]+", " ".join(shown)))
    assert {word for text in (*columns, *line) for word in text.split()} <= words


def test_a_table_of_nothing_is_not_shown() -> None:
    assert printed(leaderboard({"trials": [], "front": []}), width=80) == []
