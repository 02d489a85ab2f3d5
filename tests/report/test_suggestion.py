"""A suggestion for a task that is among the recorded ones does not say that nothing is known of it."""

from autodelta.report.suggestion import sentences


def test_what_was_learned_from_may_be_the_task_itself() -> None:
    found = {"task": "demo/entailment", "tasks": 64, "trials": 1508, "mattered": [], "notes": []}
    assert sentences(found) == ["learned from 64 tasks and 1,508 trials; nothing was trained for this"]
