"""From finished trials to an answer that says how sure it is: whom to confirm, in which order, and what came of it.

Everything here is pure: data in, decisions out. Why the rules are as they are: docs/decisions/0012-an-honest-answer.md.
"""

from autodelta.search.answer.answer import Answer as Answer
from autodelta.search.answer.answer import conclude as conclude
from autodelta.search.answer.answer import to_test as to_test
from autodelta.search.answer.entrants import Entrant as Entrant
from autodelta.search.answer.entrants import baselines as baselines
from autodelta.search.answer.entrants import finalists as finalists
from autodelta.search.answer.lines import lines as lines
from autodelta.search.answer.race import next_run as next_run
from autodelta.search.answer.race import runs_allowed as runs_allowed
from autodelta.search.answer.results import Confirmed as Confirmed

__all__ = [
    "Answer",
    "Confirmed",
    "Entrant",
    "baselines",
    "conclude",
    "finalists",
    "lines",
    "next_run",
    "runs_allowed",
    "to_test",
]
