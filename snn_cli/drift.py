"""`snn drift`: whether new data are like those that the champion was trained on."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from snn_cli.aws import Aws
from snn_cli.console import Exit, Json, answer, say, table
from snn_cli.tables import show
from snn_client.drift.comparing import CHAMPION, Drift, find_drift, is_name
from snn_data.drift.report import ALPHA

MOST_SHOWN = 30  # tests


def drift(
    aws: Aws,
    data: Annotated[str, typer.Argument(help="the new data: a datasets.h5, or what one is made of; s3://bucket/key")],
    against: Annotated[
        str, typer.Option(help="what to compare with: a file, an address, a run, or champion")
    ] = CHAMPION,
    alpha: Annotated[float, typer.Option(help="how often it may be said of data that are alike, at most")] = ALPHA,
    as_json: Json = False,
) -> None:
    """Compare new data with those that the champion was trained on: columns, looks of photos, features, labels.

    Ends with 0 if nothing has changed or there is no champion yet, and with 1
    if they have changed or could not be compared. Two files need no stack.

    \b
    Examples:
      snn drift datasets/new.h5
      snn drift datasets/new.h5 --against datasets/old.h5
      snn drift s3://my-photos/new.h5 --against my-first --json
    """
    outputs = aws.outputs if is_name(against) else None
    found = find_drift(aws.clients, outputs, data, against, alpha=alpha)
    answer(dict(found), as_json, lambda: _show(found))
    if found["reason"]:
        say(found["reason"], markup=False)
    if found["drifted"] or found["outcome"] == "unreadable":
        raise typer.Exit(Exit.REFUSED)


def _show(found: Drift) -> None:
    if found["outcome"] != "compared":
        return
    shown = table("feature", "kind", "samples before, new", "distance", "PSI", "p, corrected", "")
    for test in found["tests"][:MOST_SHOWN]:
        shown.add_row(
            test["name"], test["kind"], f"{test['reference']:,}, {test['new']:,}", f"{test['distance']:.3f}",
            f"{test['psi']:.3f}", f"{test['adjusted']:.2g}", Text("changed", "red") if test["drifted"] else "",
        )  # fmt: skip
    lines = [Text(f"{finding['level']}: {finding['text']}") for finding in found["findings"]]
    notes = [Text(note) for note in found["notes"]]
    left = len(found["tests"]) - MOST_SHOWN
    more = [Text(f"and {left:,} more, all of them in --json")] if left > 0 else []
    verdict = "the data have changed" if found["drifted"] else "no change that matters"
    show(shown, *more, "", *lines, *notes, Text(verdict, "bold red" if found["drifted"] else "bold"))
