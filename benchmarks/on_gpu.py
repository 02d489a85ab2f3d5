"""Checks and times everything on a GPU, unattended: ``python benchmarks/on_gpu.py --out DIR [--minutes 9] [--quick]``.

Needs no network, no Ray and no Optuna: torch, transformers, peft, and what the engine imports (pydantic, scipy, numpy,
psutil, pyyaml, safetensors). T5-base's shape with random weights, rows of RTE's lengths, or of a task with ``--data``.
The sections run one after another, the most telling first, each in a process and within a time of its own: one that
fails or hangs is written down as such, and the next begins. ``DIR/results.json`` and ``DIR/results.md`` are written as
each section ends; of a script that was killed in the midst of one, ``DIR/parts`` has what that one found.

``--device cpu --quick`` runs all of it on a tiny shape, to see whether it runs.
"""

import argparse
import json
import multiprocessing
import os
import platform
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from gpu import correct, engine, launches, usual
from gpu.setting import Note, Setting

from autodelta.files import write_text

OPEN = "given up"  # what a section that has not ended is called
SLOWER = 5  # times, a machine that runs all of it on a CPU and is busy


class Section(NamedTuple):
    """One part of the script."""

    name: str
    run: Callable[[Setting, Note], None]
    seconds: float  # after which it is given up


def machine(setting: Setting, note: Note) -> None:
    """What all of this ran on."""
    import importlib.metadata
    import importlib.util

    versions = {}
    for name in ("torch", "transformers", "peft", "triton", "numpy", "pydantic"):
        found = importlib.util.find_spec(name)
        versions[name] = importlib.metadata.version(name) if found else None
    apex = importlib.util.find_spec("apex") is not None  # transformers then takes another norm
    note(python=platform.python_version(), cores=os.cpu_count(), apex=apex, **versions)
    note(
        transformers_file=transformers.__version__, tf32=torch.backends.cuda.matmul.allow_tf32, cuda=torch.version.cuda
    )
    if setting.device.type == "cuda":
        about = torch.cuda.get_device_properties(0)
        note(device=about.name, capability=f"{about.major}.{about.minor}", memory_gib=about.total_memory / 2**30)


SECTIONS = (
    Section("machine", machine, 60),
    Section("rates", engine.rates, 30),
    Section("usual", usual.usual, 60),
    Section("packs", engine.packs, 150),
    Section("packs equal alone", correct.packs, 60),
    Section("kernels", launches.kernels, 60),
    Section("graphs", launches.graphs, 90),
    Section("parity", correct.parity, 90),
    Section("stacked", launches.stacked, 30),
    Section("switches", engine.switches, 60),
    Section("calibration", engine.calibrated, 90),
    Section("compile", launches.compiled, 120),
)


def inside(section: Section, setting: Setting, part: Path, seconds: float) -> None:
    """A section in its own process, which is ended by the system when its time is over."""
    signal.alarm(int(seconds) + 1)
    began, lines = time.monotonic(), list[dict[str, Any]]()

    def write(ended: str, error: str = "") -> None:
        spent = round(time.monotonic() - began, 1)
        found = {"name": section.name, "ended": ended, "seconds": spent, "lines": lines, "error": error}
        write_text(part, json.dumps(found, indent=1, default=str))

    def note(**line: Any) -> None:
        lines.append(line)
        print(section.name, *(f"{key}={_short(value)}" for key, value in line.items()), flush=True)
        write(OPEN)

    write(OPEN)
    try:
        section.run(setting, note)
        write("done")
    except BaseException:
        error = traceback.format_exc()
        print(error, flush=True)
        write("failed", error)


def _left(section: Section, part: Path, error: str) -> dict[str, Any]:
    """What a section has written; one that did not come to its end was given up, or died with an exit code."""
    nothing = {"name": section.name, "ended": OPEN, "seconds": 0, "lines": [], "error": ""}
    found: dict[str, Any] = json.loads(part.read_text(encoding="utf8")) if part.exists() else nothing
    part.unlink(missing_ok=True)
    return {**found, "error": error} if found["ended"] == OPEN else found


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(found: list[dict[str, Any]]) -> str:
    """All sections as Markdown; a new table where a line has other columns than the one before."""
    lines = []
    for section in found:
        lines += ["", f"## {section['name']}: {section['ended']} after {section['seconds']} s"]
        columns: list[str] = []
        for line in section["lines"]:
            if list(line) != columns:
                columns = list(line)
                lines += ["", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
            lines.append(f"| {' | '.join(_short(value) for value in line.values())} |")
        if section["error"]:
            lines += ["", "```", section["error"].strip(), "```"]
    return "\n".join(["<!-- benchmarks/on_gpu.py -->", *lines]) + "\n"


def processes(device: str) -> Any:
    """How sections are started: forked, so that libraries are imported once, which needs a process that never touches
    the GPU. Where an import has done so, a forked one finds none, and all are started afresh."""
    forked = multiprocessing.get_context("fork")
    probe = forked.Process(target=torch.zeros, args=(1,), kwargs={"device": device})
    probe.start()
    probe.join(60)
    if probe.exitcode == 0:
        return forked
    probe.kill()
    return multiprocessing.get_context("spawn")


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--task", default="rte")
    parser.add_argument("--only", help=f"sections, with commas: {', '.join(one.name for one in SECTIONS)}")
    return parser.parse_args()


def main() -> None:
    given = asked()
    setting = Setting(torch.device(given.device), given.quick, given.data, given.task)
    chosen = [one for one in SECTIONS if not given.only or one.name in given.only.split(",")]
    end, found = time.monotonic() + 60 * given.minutes, list[dict[str, Any]]()
    (given.out / "parts").mkdir(parents=True, exist_ok=True)
    context = processes(given.device)
    for section in chosen:
        seconds = min(section.seconds * (SLOWER if given.quick else 1), end - time.monotonic())
        part = given.out / "parts" / f"{section.name.replace(' ', '_')}.json"
        if seconds < 5:
            found.append({"name": section.name, "ended": "not begun", "seconds": 0, "lines": [], "error": ""})
        else:
            process = context.Process(target=inside, args=(section, setting, part, seconds))
            process.start()
            process.join(seconds)
            late = process.is_alive()
            if late:
                process.kill()
                process.join()
            found.append(_left(section, part, "" if late else f"exit code {process.exitcode}"))
        write_text(given.out / "results.json", json.dumps(found, indent=1))
        write_text(given.out / "results.md", table(found))
    print(table(found))


if __name__ == "__main__":
    main()
