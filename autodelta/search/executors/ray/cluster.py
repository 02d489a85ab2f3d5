"""The Ray cluster that a search uses: one that is there already, or one started on this machine for it alone."""

import importlib.util
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayTaskError
from ray.util.client import ray as client

from autodelta.engine.assignment import WorkerSpec
from autodelta.engine.costs import Costs
from autodelta.engine.devices import fit
from autodelta.errors import UserError, one_of
from autodelta.search.executors import ADDRESS, CLIENT, cluster_address
from autodelta.search.executors.ray.shipping import Shipment, placed, shipments

# Ray Client gives each client a server process of its own, which a loaded head node at times fails to start.
ATTEMPTS, WAIT_SECONDS = 3, 2.0
FLEETING = ("Starting Ray client server failed", "Proxy failed to Connect to backend")


@dataclass(frozen=True)
class Connection:
    """How this process came to be connected."""

    started: bool  # Ray was started here, for this search alone
    dashboard: str | None = None


class Link(NamedTuple):
    """A cluster, and the job that this process is there."""

    gcs: str
    job: str


class Own(NamedTuple):
    """A connection that ``connect`` made."""

    link: Link | None
    address: str | None  # None: Ray was started here


_own: Own | None = None


@dataclass(frozen=True)
class Machines:
    """What a cluster has."""

    cpus: float
    gpus: float

    def device(self, asked: str | None) -> str:
        """The device that was asked for, or the best there is: cpu or cuda.

        Raises:
            UserError: it is none of the two, or the cluster has no GPU.
        """
        if asked not in (None, "cpu", "cuda"):
            raise one_of("device", str(asked), ("cpu", "cuda"))
        if asked == "cuda" and self.gpus <= 0:
            raise UserError("the device 'cuda' was asked for, but the cluster has no GPU; choose --device cpu")
        return asked or ("cuda" if self.gpus > 0 else "cpu")

    def workers(self, device: str, *, gpus_per_worker: float) -> int:
        """How many workers fit."""
        room = fit(self.gpus, gpus_per_worker) if device.startswith("cuda") else fit(self.cpus, 1)
        return max(1, room)


def connect(asked: str | None, *, workers: int = 1) -> Connection:
    """Connects to a cluster, or starts Ray on this machine; what a search before was connected to, and is not asked for
    now, is left. A connection that somebody else made is used, and never left.

    Raises:
        UserError: no cluster answers at that address, or somebody else connected this process to another one.
    """
    global _own
    there, link = cluster_address(asked), _link()
    if link is not None:
        own = _own if _own is not None and _own.link == link else None
        if own.address == there if own else _may_be(link, there):
            return Connection(started=False)
        if own is None:
            raise UserError(
                f"Ray is connected to {link.gcs!r} already, not to {there!r}; call ray.shutdown() before, or give that "
                "address"
            )
        ray.shutdown()
    how: dict[str, Any] = {"logging_level": logging.ERROR}
    if there is None:
        how |= {"address": "local", "num_cpus": max(workers, os.cpu_count() or 1), "log_to_driver": False}
        how["include_dashboard"] = importlib.util.find_spec("aiohttp_cors") is not None  # as ray[default] has it
    else:
        how |= {"address": there, **({} if there.startswith(CLIENT) else {"log_to_driver": False})}
    try:
        context = _started(how)
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
        if there is None:
            raise
        raise UserError(_unreachable(there, str(error))) from error
    _own = Own(_link(), there)
    return Connection(started=there is None, dashboard=context.dashboard_url)


def _link() -> Link | None:
    """What this process is connected to."""
    if not ray.is_initialized():
        return None
    context = ray.get_runtime_context()
    return Link(context.gcs_address, context.get_job_id())


def _may_be(link: Link, there: str | None) -> bool:
    """Whether a connection that somebody else made can be the one that is asked for; clients do not say where they are
    connected."""
    if there is not None and there.startswith(CLIENT):
        return bool(client.is_connected())  # type: ignore[no-untyped-call]
    return there in (None, "auto", os.environ.get(ADDRESS), link.gcs)


def _started(how: dict[str, Any]) -> Any:
    """Ray's context; what may pass by itself is tried again."""
    for _ in range(ATTEMPTS - 1):
        try:
            return ray.init(**how)
        except (ConnectionError, RuntimeError) as error:
            if not any(said in str(error) for said in FLEETING):
                raise
            time.sleep(WAIT_SECONDS)
    return ray.init(**how)


def machines() -> Machines:
    """What the cluster that is connected has."""
    found = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return Machines(cpus=found.get("CPU", 0.0), gpus=found.get("GPU", 0.0))


def best_dtype(gpus_per_worker: float) -> str:
    """The dtype that the cluster's GPUs are fast at, asked on one of them."""
    return str(ray.get(ray.remote(num_gpus=gpus_per_worker, num_cpus=1)(_best_dtype).remote()))


def costs(spec: WorkerSpec, *, address: str | None, gpus_per_worker: float, say: Callable[[str], object]) -> Costs:
    """What packs cost on one of the cluster's machines, where it is measured, once.

    Raises:
        UserError: the machine does not find the backbone.
    """
    say("measuring once on a machine of the cluster what it costs there to train several candidates at a time")
    outside = (cluster_address(address) or "").startswith(CLIENT)  # no node sees the folders of this machine
    sent = () if outside else shipments(spec, ray.get_runtime_context().get_node_id())
    gpus = gpus_per_worker if spec.device.startswith("cuda") else 0
    try:
        return ray.get(ray.remote(num_gpus=gpus, num_cpus=1)(_costs).remote(spec, sent))
    except RayTaskError as error:
        raise told(error) from error


def told(error: RayTaskError) -> Exception:
    """What a task failed with over there, of the kind that it had there, and without Ray's traceback."""
    cause: Exception = error.cause
    return cause


def shortage(workers: int, resources: dict[str, float]) -> str | None:
    """One line if the cluster has no room for all the workers as it is now."""
    found = ray.cluster_resources()  # type: ignore[no-untyped-call]
    room = min(fit(found.get(name, 0.0), amount) for name, amount in resources.items())
    if room >= workers:
        return None
    return f"the cluster has room for {room} of {workers} workers now; the others start when there is more"


def _best_dtype() -> str:
    import torch

    from autodelta.backbones.loading import DTYPES, best_dtype

    chosen = best_dtype(torch.device("cuda"))
    return next(name for name, dtype in DTYPES.items() if dtype == chosen)


def _costs(spec: WorkerSpec, sent: tuple[Shipment, ...]) -> Costs:
    from autodelta.engine.calibration import calibrated

    return calibrated(placed(spec, sent).load_backbone(), lambda text: None)


def _unreachable(there: str, said: str) -> str:
    last = said.strip().splitlines()[-1].strip() if said.strip() else "no answer"  # what lies above is a traceback
    if there.startswith(CLIENT):
        hint = "is its client server there, on port 10001, and are its Ray and Python those of this machine?"
    elif there == "auto":
        hint = "run this on a machine of the cluster, or give ray://HOST:10001"
    else:
        hint = "this machine must be one of its nodes; from elsewhere, give ray://HOST:10001"
    return f"no Ray cluster at {there!r} ({last}); {hint}"
