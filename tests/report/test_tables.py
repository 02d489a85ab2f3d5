from typing import Any

from autodelta.report.tables import SHOWN, conclusion


def a_trial(number: int, state: str, reason: str = "", **more: int) -> dict[str, Any]:
    trial = {"number": number, "state": state, "reason": reason, "methods": ["lora"], "score": 0.5, "parameters": 8}
    return {**trial, "step": 28, "continues": None, **more}


def test_every_state_is_shown_with_a_reason_where_it_needs_one_though_the_table_is_cut() -> None:
    trials = [a_trial(number, "complete") for number in range(SHOWN + 1)]
    trials += [a_trial(30, "failed", "the loss is nan\nat step 4"), a_trial(31, "infeasible", "out of memory")]
    trials += [a_trial(32, "failed", "another"), a_trial(33, "pruned", "not among the best"), a_trial(34, "running")]
    trials += [a_trial(35, "pruned", "budget: it would take about 22 s", step=0), a_trial(36, "pruned", continues=33)]
    trials += [a_trial(37, "pruned", "another reason", step=0)]
    spent = {"wall_seconds": 60.0, "device_seconds": 60.0, "trials": len(trials)}
    budget = {"spent": spent, "by_kind": {}, "text": "1min"}
    lines = conclusion({"trials": trials, "lines": [], "best": trials[0], "ended_early": "", "budget": budget})
    assert lines[1] == (
        "trials: 21 complete, 3 pruned, 1 infeasible (trial 31: out of memory), "
        "2 failed (trial 30: the loss is nan at step 4), 1 running, 1 that the budget did not allow, "
        "1 of these go on with an earlier one"
    )
