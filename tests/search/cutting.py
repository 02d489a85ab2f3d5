"""Trials that are cut short, as in a search whose budget is spent."""

from contextlib import closing

from autodelta.search import driver
from autodelta.search.ledger import Ledger
from autodelta.search.run import Run
from autodelta.search.session import Session
from autodelta.search.storage import quiet
from autodelta.search.work import Accounts
from autodelta.space import Space


def cut_short(run: Run, space: Space) -> None:
    """Ends the trials that an interrupt left running."""
    with quiet(), closing(driver._study(run.settings, space, run.path)) as study:
        accounts = Accounts(run.settings.limits, Ledger(None), emit=lambda event: None, confirm_share=0.0)
        Session(run.path, study, accounts, workers=1).stop_running()
