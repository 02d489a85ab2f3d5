"""``tasks`` and ``spaces``: what can be named."""

import typer

from autodelta.cli.options import AsJson, Data, console, mistakes, print_json


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(tasks)
    app.command()(spaces)


def tasks(data: Data = None, as_json: AsJson = False) -> None:
    """List the tasks that can be named."""
    from autodelta.tasks import available

    with mistakes():
        found = available(data)
    if as_json:
        print_json([info.model_dump(mode="json") for info in found])
        return
    from autodelta.report.tables import rows

    lines = [
        (info.name, info.origin, info.kind, str(len(info.labels) or ""), info.metric, info.problem or info.licence)
        for info in found
    ]
    console().print(rows("Tasks", ("task", "from", "kind", "labels", "metric", "licence"), lines))


def spaces(as_json: AsJson = False) -> None:
    """List the search spaces that ship with autodelta."""
    from autodelta.space import describe, names

    with mistakes():  # those that ship are a folder that people add to
        found = [describe(name) for name in names()]
    if as_json:
        print_json([info.model_dump(mode="json") for info in found])
        return
    from autodelta.report.tables import rows

    lines = [(info.name, ", ".join(info.methods), str(info.at_most), info.description) for info in found]
    console().print(rows("Search spaces", ("space", "methods", "at once", "what it is for"), lines))
