"""A search in a cluster that this machine is no part of: its driver runs over there, its events are told here.

Ray Client (``ray://``) lets a program outside of a cluster start tasks in it, but Tune must run inside: its searcher
asks the study thousands of times, and the study's files must lie where it runs. So one task on the head node takes the
run up, in the folder that both sides share, and puts its events into a queue.
"""

import time
from contextlib import suppress
from shlex import quote

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.queue import Empty, Queue

from autodelta.errors import UserError, one_line
from autodelta.search.events import Event, Listener
from autodelta.search.executors.ray import cluster
from autodelta.search.executors.ray.shared import RunFolder
from autodelta.search.run import Run
from autodelta.search.settings import Settings
from autodelta.space import Space

LOOK_SECONDS = 0.5
HEAD = {"node:__internal_head__": 0.001}  # a share of what only the head node has


def take_up_there(run: Run, address: str, *, events: Listener) -> None:
    """Takes a run up in the cluster, and returns when its search has ended.

    Raises:
        UserError: as ``driver.take_up``; no cluster answers; its head node does not see the run's folder; the driver
            over there, or the way to it, was lost.
    """
    connection = cluster.connect(address)
    told = Queue(actor_options={"num_cpus": 0})
    task = ray.remote(num_cpus=0, max_retries=0, resources=HEAD)(_take_up).remote(
        RunFolder.seen(run.path), run.settings, told
    )
    try:
        try:
            _pass_on(task, told, events)
        except KeyboardInterrupt:
            ray.cancel(task)  # is Ctrl-C over there
            _pass_on(task, told, events)
        ray.get(task)
    except RayTaskError as error:
        raise cluster.told(error) from error
    except (RayError, ConnectionError) as error:
        raise UserError(
            f"the search in the cluster at {address!r} was lost: {one_line(error)}; nothing that was finished is lost: "
            f"autodelta search --resume {quote(str(run.path))}"
        ) from error
    finally:
        with suppress(RayError, ConnectionError):  # it is gone with the cluster
            told.shutdown()
        if connection.started:
            ray.shutdown()


def _pass_on(task: "ray.ObjectRef[None]", told: Queue, events: Listener) -> None:
    """Tells events until the search has ended."""
    done = False
    while not done:
        done = bool(ray.wait([task], timeout=0)[0])
        with suppress(Empty):
            while True:
                events(told.get_nowait())
        if not done:
            time.sleep(LOOK_SECONDS)


def _take_up(folder: RunFolder, settings: Settings, told: Queue) -> None:
    """Over there: drives the search."""
    from autodelta.search.driver import take_up

    folder.check()
    run = Run(folder.path, settings.model_copy(update={"address": None}))

    def tell(event: Event) -> None:
        told.put(event)

    take_up(run, Space.of_text(settings.space, settings.shape, name=f"the space of run {run.name}"), events=tell)
