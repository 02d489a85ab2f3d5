import io

from rich.console import Console

from autodelta.report.answer import standings
from autodelta.search.answer import Confirmed, conclude
from tests.search.answer.simulated import BITFIT, LORA, World, baseline, finalist

ENTRANTS = [finalist(0, BITFIT), finalist(1, LORA, BITFIT), baseline("lora", 0)]
WORLD = World({"finalist 0": 0.8, "finalist 1": 0.803, "lora 0": 0.7}, seed=1)


def test_the_table_shows_who_won_who_ties_and_who_broke_down() -> None:
    results = WORLD.race(ENTRANTS, runs=14)
    broken = Confirmed(
        entrant="lora 0", candidate=ENTRANTS[2].candidate, seed_index=9, seed=9, validation=None, reason="NaN"
    )
    answer = conclude(
        ENTRANTS, [*results, broken], task="dogs", metric="accuracy", rows={}, score=lambda gold, found: 0.0
    )
    screen = Console(file=io.StringIO(), width=140)
    screen.print(standings(answer))
    assert isinstance(screen.file, io.StringIO)
    rows = screen.file.getvalue().splitlines()
    assert "in brackets: the lowest and the highest of its seeds" in rows[-1]
    assert answer.winner is not None
    first = next(row for row in rows if "finalist" in row)
    assert answer.winner in first
    assert "winner" in first
    other = next(row for row in rows if "finalist" in row and answer.winner not in row)
    assert "ties" in other
    assert sum("exported" in row for row in rows) == 1
    assert any("NaN" in row and "lora 0" in row for row in rows)
