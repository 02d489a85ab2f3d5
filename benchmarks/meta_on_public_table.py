"""How soon each policy finds good configurations of a public table that nobody here made, and whom a wrong past harms.

    python benchmarks/meta_on_public_table.py --table DIR          # runs what is missing, split by split
    python benchmarks/meta_on_public_table.py --table DIR --ablations --splits 0 1   # and with parts of `meta` left out
    python benchmarks/meta_on_public_table.py --again meta ...     # forgets what policies did, so that it is missing
    python benchmarks/meta_on_public_table.py --splits ... --policies ... --out FILE ...   # some, on other splits
    python benchmarks/meta_on_public_table.py --summary            # tables from what has been run so far

Protocol of the table's README: in each of ten seeded splits 60 source tasks with 100 observed configurations each, and
60 unseen tasks; a policy asks for one of the 219 configurations after another. Normalised regret after n trials is
taken on the unseen tasks. All policies run on the same splits, so that they are compared in pairs; intervals draw
tasks and splits again, each on its own, as a task may be unseen in several splits, and a split has one fit and, as
unrelated sources, one function (the pigeonhole bootstrap of Owen 2007, Annals of Applied Statistics 1). Settings were
chosen on splits of other seeds. `meta_on_public_table_second.csv` has splits 200 to 209, sound and unrelated sources: a
second draw that nothing was chosen on either."""

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import oboe
import torch
from oboe import Split, Table
from trials import append, read

from autodelta.meta.fitting import fit
from autodelta.meta.model import Model
from autodelta.meta.network import picked
from autodelta.meta.on_task import OnTask
from autodelta.meta.policies import ask
from autodelta.meta.portfolio import of_nearest
from autodelta.meta.problem import Floats, Points, Sources

RESULTS = Path(__file__).parent / "results"
AT = (1, 3, 5, 10, 25, 50)
RESAMPLES = 2000
CALIBRATED = (0, 5, 10)
ARM = {
    "random": (),
    "plain": ("plain",),
    "shared": ("shared",),
    "hypernetwork": ("hypernetwork",),
    "unguarded": ("hypernetwork", "shared"),
}
WRONG = ("flipped", "shuffled", "unrelated")
GUARDS = ("meta", "without guard")  # what is run with wrong sources
POLICIES = {
    "clean": (
        "portfolio",
        "nearest task",
        "random",
        "tpe",
        "gp",
        "hypernetwork",
        *GUARDS,
    ),
    **dict.fromkeys(WRONG, GUARDS),
}
ABLATIONS = ("shared prior", "without features", "ensemble of 1", "opening turned")  # of meta, with sound sources
TARGETS = {1: 1.0, 5: 1.0, 10: 0.9, 25: 0.85}  # regret as a share of the portfolio's
Cell = tuple[str, str]  # condition and policy
Pair = tuple[str, str]  # split and task
OURS = ("clean", "meta")
Search = Callable[[int], tuple[list[int], dict[int, float]]]  # task -> rows in their order, calibration


def searches(table: Table, past: Sources, condition: str, seed: int, trials: int) -> Iterator[tuple[str, Search]]:
    """Every policy under a condition (`POLICIES`), as a search on one task."""
    model = fit(past, seed=seed)
    print(
        f"  {condition}: opening {model.found.opening} {model.found.regrets}, widths {model.found.widths}", flush=True
    )

    def run(policy: str, of: Model, *, features: bool = True) -> Search:
        return cache(lambda task: searched(table, of, policy, task, trials, seed=seed, features=features))

    if condition != "clean":
        yield "meta", run("meta", model)
        yield "without guard", run("unguarded", model)
        return
    best = model.portfolio.keys[:trials]
    places = {key: row for row, key in enumerate(table.configurations.keys)}
    yield "portfolio", lambda task: ([places[key] for key in best], {})
    yield "nearest task", lambda task: (of_nearest(past, table.features[task], trials).tolist(), {})
    yield "random", run("random", model)
    yield "tpe", lambda task: (tpe(table, task, trials, seed=seed), {})
    yield "gp", run("plain", model)
    yield "shared prior", run("shared", model)
    yield "hypernetwork", run("hypernetwork", model)
    yield "meta", run("meta", model)
    yield "without guard", run("unguarded", model)
    yield "without features", run("meta", model, features=False)
    yield "ensemble of 1", run("meta", dataclasses.replace(model, network=picked(model.network, [0])))
    other = 0 if model.found.opening else 3
    turned = dataclasses.replace(model, found=model.found.model_copy(update={"opening": other}))
    yield "opening turned", run("meta", turned)


def searched(
    table: Table, model: Model, policy: str, task: int, trials: int, *, seed: int, features: bool
) -> tuple[list[int], dict[int, float]]:
    """One search: the rows in their order, and which share of the scores left lay in the 90 % intervals."""
    pool, scores = table.configurations, table.scores[task]
    on = model.on(table.features[task] if features else None, arms=ARM.get(policy))
    taken = np.zeros(len(pool), dtype=bool)
    rows: list[int] = []
    held = {}
    for number in range(trials):
        if policy == "meta" and number in CALIBRATED:
            held[number] = _held(on, table, scores, taken)
        row = ask(policy, on, pool, taken, seed=(seed * 1000 + task) * 1000 + number).row
        taken[row] = True
        rows.append(row)
        on.observe(pool, Points.of_ends([row], [scores[row]]))
    return rows, held


def _held(on: OnTask, table: Table, scores: Floats, taken: Any) -> float:
    low, high = on.interval(table.configurations)
    return float(((scores >= low) & (scores <= high))[~taken].mean())


def tpe(table: Table, task: int, trials: int, *, seed: int) -> list[int]:
    """Optuna's TPE, ranking the pool by its own acquisition."""
    import optuna

    from autodelta.search.samplers import PoolEntry
    from autodelta.search.samplers.tpe import SAMPLER

    entries = [PoolEntry(*entry) for entry in _entries(table)]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    left, rows = list(range(len(entries))), []
    for number in range(trials):
        draw = int(np.random.default_rng((seed, task, number)).integers(2**31))
        wanted = SAMPLER.rank(study, [entries[row] for row in left], draw)
        order = np.random.default_rng(draw).permutation(len(left))
        row = left.pop(int(order[np.argmax(wanted[order])]))
        rows.append(row)
        entry = entries[row]
        study.add_trial(
            optuna.trial.create_trial(
                params=dict(entry.params), distributions=dict(entry.distributions), value=float(table.scores[task, row])
            )
        )
    return rows


def _entries(table: Table) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Parameters with what they may be: hyper-parameters belong to their algorithm."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    named = [
        {"algorithm": one["algorithm"]}
        | {f"{one['algorithm']}.{name}": value for name, value in one.items() if name != "algorithm"}
        for one in table.parameters
    ]
    values: dict[str, list[Any]] = {}
    for one in named:
        for name, value in one.items():
            values.setdefault(name, []).append(value)
    kinds: dict[str, Any] = {}
    for name, found in values.items():
        if all(isinstance(value, int | float) for value in found):
            log = name.rpartition(".")[2] in oboe.LOGS and min(found) > 0
            kinds[name] = FloatDistribution(min(found), max(found), log=log)
        else:
            kinds[name] = CategoricalDistribution(sorted({str(value) for value in found}))
    return [
        (
            {n: float(v) if isinstance(kinds[n], FloatDistribution) else str(v) for n, v in one.items()},
            {name: kinds[name] for name in one},
        )
        for one in named
    ]


# --- running ---------------------------------------------------------------------------------------------------------


def run(table: Table, path: Path, seeds: Sequence[int], policies: Mapping[str, Sequence[str]], trials: int) -> None:
    """Adds to the file what it lacks of these policies by condition; what a split lacks of one is added as a whole."""
    done = {(row["split"], row["condition"], row["policy"]) for row in read(path)}
    for seed in seeds:
        for condition, names in policies.items():
            missing = [name for name in names if (str(seed), condition, name) not in done]
            if not missing:
                continue
            began = time.monotonic()
            found = oboe.split(table, seed)
            rows = list(_rows(table, found, condition, seed, trials, missing))
            append(path, rows)
            print(f"split {seed} {condition}: {time.monotonic() - began:.0f} s", flush=True)


def _rows(
    table: Table, found: Split, condition: str, seed: int, trials: int, policies: Sequence[str]
) -> Iterator[dict[str, Any]]:
    past = oboe.sources(table, found, seed, how=condition)
    for policy, search in searches(table, past, condition, seed, trials):
        for task in found.unseen if policy in policies else ():
            rows, held = search(int(task))
            curve = oboe.regret(table, int(task), rows)
            yield {
                "split": seed,
                "condition": condition,
                "policy": policy,
                "task": table.tasks[task],
                **{f"regret{n}": f"{curve[n - 1]:.6f}" if n <= trials else "" for n in AT},
                **{f"held{n}": f"{held[n]:.4f}" if n in held else "" for n in CALIBRATED},
            }


def forget(path: Path, policies: Sequence[str]) -> None:
    """Drops what policies did from the file."""
    kept = [row for row in read(path) if row["policy"] not in policies]
    path.unlink(missing_ok=True)
    if kept:
        append(path, kept)


# --- summary ---------------------------------------------------------------------------------------------------------


def summary(path: Path) -> str:
    """The tables in Markdown: mean regret, shares of the reference's with paired intervals, calibration."""
    found = read(path)
    at = [n for n in AT if found[0][f"regret{n}"]]
    cells: dict[Cell, dict[Pair, list[float]]] = {}
    for row in found:
        cells.setdefault((row["condition"], row["policy"]), {})[row["split"], row["task"]] = [
            float(row[f"regret{n}"]) for n in at
        ]
    parts = {name: found for name, found in cells.items() if name[1] in ABLATIONS}
    rest = {name: found for name, found in cells.items() if name not in parts}
    lines, values, pairs = _means(rest, at)
    weights = _weights(pairs)
    of_parts: list[str] = []
    if parts:
        said, known, shared = _means({**parts, OURS: rest[OURS]}, at)
        lines += ["", "With parts left out:", "", *said]
        drawn = _weights(shared)
        of_parts = [f"| meta / {name[1]} | {_shares(known[OURS], known[name], drawn)} |" for name in parts]
    lines += ["", "Shares of mean regret, with 95 % intervals over tasks and splits, in pairs:", ""]
    lines += ["| | " + " | ".join(f"@{n}" for n in at) + " |", "| --- " * (1 + len(at)) + "|"]
    meta = values[OURS]
    for name in ("portfolio", "without guard", "hypernetwork"):
        if ("clean", name) in values:
            lines.append(f"| meta / {name} | " + _shares(meta, values["clean", name], weights) + " |")
    lines += of_parts
    for condition in WRONG:
        if (condition, "meta") in values:
            for name in (name for name in ("random", "tpe", "gp") if ("clean", name) in values):
                shares = _shares(values[condition, "meta"], values["clean", name], weights)
                lines.append(f"| meta, {condition} / {name} | {shares} |")
    own = [row for row in found if (row["condition"], row["policy"]) == OURS]
    held = {n: [float(row[f"held{n}"]) for row in own] for n in CALIBRATED}
    calibrated = ", ".join(f"{100 * np.mean(of):.1f} % after {n}" for n, of in held.items())
    return "\n".join([*lines, "", f"90 % intervals on unseen tasks hold {calibrated} trials.", ""])


def _means(
    cells: Mapping[Cell, Mapping[Pair, list[float]]], at: Sequence[int]
) -> tuple[list[str], dict[Cell, Floats], list[Pair]]:
    """A table of mean regrets on the searches that all policies have made; their regrets, (searches, points); which."""
    pairs = sorted(set.intersection(*(set(found) for found in cells.values())))
    values = {name: np.array([found[pair] for pair in pairs]) for name, found in cells.items()}
    splits = len({split for split, _ in pairs})
    lines = [f"{splits} splits, {len(pairs)} searches a policy. Mean normalised regret after n trials:", ""]
    lines += ["| sources | policy | " + " | ".join(f"@{n}" for n in at) + " |", "| --- " * (2 + len(at)) + "|"]
    for (condition, policy), regret in values.items():
        lines.append(f"| {condition} | {policy} | " + " | ".join(f"{v:.4f}" for v in regret.mean(axis=0)) + " |")
    return lines, values, pairs


def _weights(pairs: Sequence[Pair]) -> Floats:
    """Of the searches, (resamples, searches): tasks and splits drawn, each on its own."""
    splits, tasks = zip(*pairs, strict=True)
    return _resampled(tasks, 0) * _resampled(splits, 1)


def _resampled(groups: Sequence[str], seed: int) -> Floats:
    """Weights of the searches, (resamples, searches): their groups drawn with replacement."""
    names, at = np.unique(np.asarray(groups), return_inverse=True)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
    return np.asarray(drawn[:, at], dtype=np.float64)


def _shares(ours: Floats, others: Floats, weights: Floats) -> str:
    shares = (weights @ ours) / (weights @ others)
    low, high = np.quantile(shares, [0.025, 0.975], axis=0)
    middle = ours.mean(axis=0) / others.mean(axis=0)
    return " | ".join(f"{m:.2f} ({a:.2f}-{b:.2f})" for m, a, b in zip(middle, low, high, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="the folder that holds error.csv.gz")
    parser.add_argument("--splits", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--conditions", nargs="+", default=["clean", *WRONG])
    parser.add_argument("--policies", nargs="+", help="instead of all")
    parser.add_argument("--ablations", action="store_true")
    parser.add_argument("--trials", type=int, default=25)
    parser.add_argument("--out", type=Path, default=RESULTS / "meta_on_public_table.csv")
    parser.add_argument("--again", nargs="+", default=[], metavar="POLICY", help="forget what these did before")
    parser.add_argument("--summary", action="store_true", help="print the tables instead, and keep them beside the CSV")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.again:
        forget(arguments.out, arguments.again)
    if arguments.table:
        wanted = {condition: POLICIES[condition] for condition in arguments.conditions}
        if arguments.ablations and "clean" in wanted:
            wanted["clean"] += ABLATIONS
        if arguments.policies:
            wanted = {how: [name for name in names if name in arguments.policies] for how, names in wanted.items()}
        run(oboe.read(arguments.table), arguments.out, arguments.splits, wanted, arguments.trials)
    if arguments.summary:
        text = summary(arguments.out)
        arguments.out.with_suffix(".md").write_text(text, encoding="utf8")
        print(text)


if __name__ == "__main__":
    main()
