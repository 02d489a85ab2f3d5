"""The data card of a table: what it holds and how it came about, in a README."""

from collections import Counter

from autodelta.meta.records import State, Table

STATES: tuple[State, ...] = ("complete", "pruned", "failed", "infeasible")
FILES = {
    "records-*.parquet": "a row a trial: candidate (JSON), seed, learning curve on validation, test score at the end, "
    "device-seconds, peak memory, trainable parameters, how it ended",
    "tasks.parquet": "a row a task: its features, from train and validation alone",
    "table.json": "backbone, space and the steps of the curves",
}
NOTES = (
    "Scores are the task's own metric. `device_seconds` are those of training and validation together,",
    "`evaluation_seconds` the part that was validation. `name@500` is the task with 500 rows of train, drawn by class.",
    "The test score is there to judge a choice that was made on validation, never to choose by.",
    "",
    "No text of any task is in these files.",
)


def card(table: Table) -> str:
    """The README of a table's folder, in Markdown."""
    records, about = table.records, table.about
    states = Counter(record.state for record in records)
    seconds = sum(record.device_seconds for record in records)
    devices = sorted({f"{record.device} ({record.dtype})" for record in records})
    versions = sorted({" ".join(f"{name} {of}" for name, of in record.versions.items()) for record in records})
    repeated = {record.key[:2] for record in records if record.repeat > 0}
    lines = [
        "# Recorded trials of delta compositions",
        "",
        f"{len(records):,} trials: {len({record.candidate for record in records}):,} candidates on "
        f"{len({record.task for record in records})} tasks; {len(repeated)} of the pairs on several seeds. "
        + ", ".join(f"{states[state]:,} {state}" for state in STATES if states[state])
        + f"; {seconds / 3600:.1f} device-hours.",
        "",
        *([f"Backbone `{about.backbone}` ({about.backbone_sha256[:12]}), space `{about.space}`."] if about else []),
        f"Devices: {', '.join(devices)}. Versions: {'; '.join(versions)}.",
        "",
        "| file | holds |",
        "| --- | --- |",
        *(f"| `{file}` | {holds} |" for file, holds in FILES.items()),
        "",
        *NOTES,
        "",
        "| task | kind | metric | rows of train | trials | best on validation |",
        "| --- | --- | --- | --- | --- | --- |",
        *(_line(table, task) for task in sorted({record.task for record in records})),
    ]
    return "\n".join(lines) + "\n"


def _line(table: Table, task: str) -> str:
    found = table.of(task)
    known = table.tasks.get(task)
    kind, metric = (known.kind, known.metric) if known else ("", "")
    scores = [record.score for record in found if record.score is not None and record.state == "complete"]
    best = f"{max(scores):.4f}" if scores else ""
    return f"| {task} | {kind} | {metric} | {found[0].train_rows} | {len(found)} | {best} |"
