"""`snn batch`: a version's answers to many photos, or to the rows of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from snn_cli.aws import Aws
from snn_cli.console import Json, answer, interruptible, results, say, table
from snn_cli.making import shown
from snn_client.serving.batch_contents import AT_ONCE, FORMATS, Estimate, Format, Manifest
from snn_cloud.cost.formats import dollars, duration
from snn_cloud.registry.record import DEFAULT_MODEL


def batch(
    aws: Aws,
    source: Annotated[
        str, typer.Argument(help="photos: a folder, or s3://bucket/prefix/; a table: .csv or .parquet, here or in S3")
    ],
    model: Annotated[str, typer.Option("--model", help="name of the model")] = DEFAULT_MODEL,
    version: Annotated[str, typer.Option("--version", metavar="N or RUN", help="default: the champion")] = "",
    kind: Annotated[
        Literal["jsonl", "csv", "parquet"] | None,
        typer.Option("--format", help="of the result; default: as --out is called, or jsonl"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="a file for all answers, beside the one in S3")] = None,
    max_usd: Annotated[float | None, typer.Option("--max-usd", help="stop before it costs more than this")] = None,
    at_once: Annotated[int, typer.Option("--at-once", help="invocations at a time")] = AT_ONCE,
    batch_id: Annotated[
        str, typer.Option("--batch-id", help="a name for the batch; default: one of source and version")
    ] = "",
    estimate: Annotated[bool, typer.Option("--estimate", help="say what it will take, and do nothing")] = False,
    as_json: Json = False,
) -> None:
    """Have PredictLambda answer many photos, or the rows of a table.

    The same command again goes on where it was stopped, and computes nothing twice.

    \b
    Examples:
      snn batch new-photos --out answers.csv
      snn batch s3://my-bucket/photos/ --model cats --max-usd 2
      snn batch patients.parquet --format parquet --estimate
    """
    from snn_client.serving.batch import batch_predict, estimate_batch

    if estimate:
        guess = estimate_batch(aws.clients, aws.outputs, source, model=model, version=version, at_once=at_once)
        answer(dict(guess), as_json, lambda: _show_estimate(guess))
        return
    with shown() as progress, interruptible(lambda: "What is answered stays: the same command goes on with the rest."):
        done = batch_predict(
            aws.clients, aws.outputs, source, model=model, version=version, kind=kind or _format_of(out), out=out,
            batch_id=batch_id, max_usd=max_usd, at_once=at_once, progress=progress,
        )  # fmt: skip
    answer(dict(done), as_json, lambda: _show(done))
    if out is not None:
        say(f"{done['answered']:,} answers are in {out}", markup=False)


def _format_of(out: Path | None) -> Format:
    ending = out.suffix.removeprefix(".").lower() if out else ""
    return next((kind for kind in FORMATS if kind == ending), "jsonl")


def _show_estimate(guess: Estimate) -> None:
    results.print(
        f"{guess['inputs']:,} {guess['kind']} in {guess['parts']:,} parts: about {duration(guess['seconds'])} with "
        f"{guess['at_once']} at once, about {dollars(guess['usd'])} USD",
        highlight=False,
    )


def _show(done: Manifest) -> None:
    version = f"{done['model']['name']}/{done['model']['version']}"
    rows = table("", "")
    rows.show_header = False
    rows.add_row("batch", done["batch_id"])
    rows.add_row("version", f"{version}, run {done['model']['run_id']}")
    rows.add_row("inputs", f"{done['answered']:,} answers, {done['bad']:,} bad inputs")
    rows.add_row("parts", f"{done['parts']:,}, of which {done['computed']:,} were computed now")
    rows.add_row("result", done["result"])
    if done["errors"]:
        rows.add_row("bad inputs", done["errors"])
    rows.add_row("cost", f"{dollars(done['cost']['usd'])} USD (estimate {dollars(done['estimate_usd'])})")
    results.print(rows)
