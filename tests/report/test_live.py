import io
from pathlib import Path

from rich.console import Console

from autodelta.report.live import LivePanel
from autodelta.search import driver, events
from autodelta.search.run import Run
from tests.search import fakes


def seen(panel: LivePanel) -> str:
    screen = Console(file=io.StringIO(), width=120)
    screen.print(panel.render())
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def test_before_a_search_has_begun_nothing_is_said_of_its_budget() -> None:
    assert " of " not in seen(LivePanel(Console(file=io.StringIO())))


def test_a_search_that_goes_on_shows_what_it_has_spent_and_how_its_trials_have_ended(tmp_path: Path) -> None:
    run = driver.search(fakes.settings(budget="6trials"), fakes.space(tmp_path), folder=tmp_path / "run")
    panel, shown = LivePanel(Console(file=io.StringIO())), list[str]()

    def hear(event: events.Event) -> None:
        panel(event)
        shown.append(seen(panel))

    driver.take_up(Run(run.path, fakes.settings(budget="8trials")), fakes.space(tmp_path), events=hear)
    assert "6 complete" in shown[0]
    first = next(text for text in shown if "running" in text)  # a trial has started
    assert "75% of 8trials" in first
    assert "8 complete" in shown[-1]


def test_a_search_of_one_trial_ended_after_one_trial() -> None:
    ends = [str(events.SearchEnded(reason="budget", trials=trials)) for trials in (1, 2)]
    assert ends == ["search ended (budget) after 1 trial", "search ended (budget) after 2 trials"]
