"""`snn evaluate`, `snn predict` and `snn report`: what a trained network is worth."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from snn.errors import InvalidInput
from snn_cli import datasets
from snn_cli.aws import Aws
from snn_cli.console import Json, answer, say
from snn_cli.tables import about, classified, judged, run_details, show
from snn_client.backbones.features import features_by
from snn_client.data.addresses import address_of
from snn_client.data.staging import read_source
from snn_client.models.champion import find_champion
from snn_client.reports.predicting import answers_csv, predict_images
from snn_client.reports.report import evaluate_run, make_report
from snn_client.runs.listing import newest_runs
from snn_cloud.aws import places
from snn_cloud.aws.errors import CloudError
from snn_cloud.ledger.record import Run, State

SliceBy = Annotated[
    str,
    typer.Option("--slice-by", help="column of a table to judge by, value by value; default: folders of the photos"),
]
Promoted = Annotated[bool, typer.Option("--promoted", help="use the run whose model is promoted")]
DatasetKey = Annotated[
    str, typer.Option("--dataset", help="key, in the stack's bucket, of a data set to use instead of the run's own")
]


def evaluate(
    aws: Aws,
    run: Annotated[str, typer.Argument(help="a completed run; default: the newest one", show_default=False)] = "",
    dataset: DatasetKey = "",
    promoted: Promoted = False,
    slice_by: SliceBy = "",
    as_json: Json = False,
) -> None:
    """Evaluate a run's model on the test set: rates or errors with intervals, confusion matrix, mislabelled samples.

    \b
    Examples:
      snn evaluate
      snn evaluate my-first --json
      snn evaluate --promoted
    """
    chosen = completed(aws, run, promoted)
    test_set = evaluate_run(aws.clients, aws.outputs.bucket, chosen.run_id, dataset or chosen.dataset, slice_by)
    answer({"run_id": chosen.run_id, **test_set}, as_json, lambda: show(*judged(test_set)))


def predict(
    aws: Aws,
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="photos, folders of photos, tables, s3://bucket/key")
    ],
    run: Annotated[str, typer.Option(help="a completed run; default: the newest one")] = "",
    out: Annotated[Path | None, typer.Option(help="a CSV file for all answers")] = None,
    promoted: Promoted = False,
    as_json: Json = False,
) -> None:
    """Classify photos, or the rows of tables, with a run's model.

    \b
    Examples:
      snn predict samples/cat.png samples/coffee.png
      snn predict samples --run my-first
      snn predict new-patients.csv --out answers.csv
    """
    chosen, photos = completed(aws, run, promoted), _photos(images)
    answers = predict_images(
        aws.clients, aws.outputs.bucket, chosen.run_id, photos, features_by(aws.clients, aws.outputs)
    )
    if out:
        out.write_text(answers_csv(answers), encoding="utf-8")
        say(f"{len(answers):,} answers are in {out}", markup=False)
    answer(answers, as_json, lambda: show(classified(answers, _classes(chosen))))


def report(
    aws: Aws,
    run: Annotated[str, typer.Argument(help="a completed run; default: the newest one", show_default=False)] = "",
    images: Annotated[
        list[str] | None, typer.Argument(metavar="IMAGE", help="photos to classify, as for `snn predict`")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="a folder for a copy of what is written")] = None,
    dataset: DatasetKey = "",
    promoted: Promoted = False,
    slice_by: SliceBy = "",
    intended_use: Annotated[str, typer.Option(help="what the model is for, and what not: for its model card")] = "",
    as_json: Json = False,
) -> None:
    """Evaluate a run's model, classify photos, and write report.json, report.html and model_card.md into its folder.

    With the extra `backbones` the folder gets model.onnx too.

    \b
    Examples:
      snn report
      snn report my-first --out reports
      snn report my-first samples --out reports
    """
    if run and not _is_name(run):
        run, images = "", [run, *(images or [])]
    chosen, photos, bucket = completed(aws, run, promoted), _photos(images or []), aws.outputs.bucket
    key = dataset or chosen.dataset
    test_set = evaluate_run(aws.clients, bucket, chosen.run_id, key, slice_by)
    new_images = predict_images(aws.clients, bucket, chosen.run_id, photos, features_by(aws.clients, aws.outputs))
    made = make_report(aws.clients, aws.outputs, chosen, test_set, new_images, photos, key, intended_use)
    written = [made["artifacts"][name] for name in ("report_json", "report_html", "model_card")]
    if out:
        written += _copies(aws, written, out)
    summary = about(aws, chosen)

    def show_all() -> None:
        show(run_details(summary), "", *judged(made["test_set"]))
        if made["new_images"]:
            show("", classified(made["new_images"], _classes(chosen)))
        show("", *(Text(f"report  {place}", overflow="fold") for place in written))

    answer(made, as_json, show_all)


def completed(aws: Aws, run: str = "", promoted: bool = False) -> Run:
    """Return the run whose model to use, and print which one if it was not named. Raises CloudError if it has none."""
    if run and promoted:
        raise typer.BadParameter("give a run or --promoted, not both")
    if promoted:
        run = _promoted(aws)
    if run:
        chosen = aws.ledger.get(run)
        if chosen.state is not State.COMPLETED:
            raise CloudError(f"run {run} is {chosen.state}: only a completed run has a model")
        return chosen
    newest = newest_runs(aws.clients.dynamodb, aws.outputs.table)
    found = next((each for each in newest if each.state is State.COMPLETED), None)
    if found is None:
        raise CloudError(f"no run of the stack {aws.stack} has completed yet; train one: {aws.command('train')}")
    say(f"run {found.run_id}, the newest completed run", markup=False)
    return found


def _classes(run: Run) -> int:
    """Return how many classes a run's model distinguishes, 0 if it predicts numbers."""
    return run.parameters.classes if run.parameters else 2


def _promoted(aws: Aws) -> str:
    champion, source = (
        find_champion(aws.clients, aws.outputs.bucket),
        f"s3://{aws.outputs.bucket}/{places.PROMOTED_PARAMS}",
    )
    if champion is None:
        raise InvalidInput("no model has been promoted yet", source=source, hint=aws.command("train --promote"))
    if not champion.run_id:
        raise InvalidInput("does not say which run trained it", source=source, hint="name a run")
    say(f"run {champion.run_id}, whose model is promoted", markup=False)
    return champion.run_id


def _photos(given: Sequence[str]) -> list[str]:
    """Return the photos to classify: for a folder, all its files. Raises InvalidInput for an empty one."""
    photos = []
    for place in given:
        if address_of(place) or not Path(place).is_dir():
            photos.append(place)
            continue
        inside = [str(path) for path in datasets.files_of(Path(place))]
        if not inside:
            raise InvalidInput("no photos in this folder", source=place)
        photos += inside
    return photos


def _is_name(text: str) -> bool:
    """Return whether this is a run's name, rather than a photo or a folder of photos."""
    return bool(re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", text)) and not Path(text).exists()


def _copies(aws: Aws, addresses: Sequence[str], folder: Path) -> list[str]:
    """Copy objects into a folder, which is made if need be; return the files. Raises OSError if that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    copies = []
    for address in addresses:
        file = folder / address.rpartition("/")[2]
        file.write_bytes(read_source(aws.clients.s3, address))
        copies.append(str(file))
    return copies
