"""`snn export`: a trained network as one ONNX file, for any runtime."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from snn_cli.aws import Aws, before_aws
from snn_cli.console import Json, answer, results, table
from snn_cli.judge import Promoted, completed
from snn_client.portable import runs
from snn_client.portable.exporting import needs_onnx
from snn_client.portable.runs import Exported, Value
from snn_photos.reference import BackboneReference


@before_aws
def export(
    here: Callable[..., Aws],
    run: Annotated[str, typer.Option("--run-id", "--run", help="a completed run; default: the newest one")] = "",
    model_file: Annotated[Path | None, typer.Option(help="a params.h5 on this machine, instead of a run's")] = None,
    output: Annotated[Path, typer.Option(help="the file to write; one that is there is replaced")] = Path("model.onnx"),
    head: Annotated[bool, typer.Option("--head", help="leave the backbone out: the file takes its features")] = False,
    promoted: Promoted = False,
    as_json: Json = False,
) -> None:
    """Write a run's model as ONE ONNX file: what is made of its inputs, its backbone, the network, its answers.

    \b
    Examples:
      snn export
      snn export --run-id my-first --output my-first.onnx
      snn export --model-file params.h5
    """
    needs_onnx()
    if model_file and (run or promoted):
        raise typer.BadParameter("give --model-file or a run, not both")

    def backbone(reference: BackboneReference) -> bytes:
        aws = here()
        return runs.backbone_in(aws.clients, aws.outputs.bucket, reference)

    if model_file:
        model = runs.model_in_file(model_file)
    else:
        aws = here()
        aws.tell()
        chosen = completed(aws, run, promoted)
        model = runs.model_in(aws.clients, aws.outputs.bucket, chosen.run_id)
    made = runs.write(runs.export(model, None if head else backbone), output)
    answer(made, as_json, partial(_show, made))


def _show(made: Exported) -> None:
    shown = table("", "name", "type", "shape")
    for what in ("inputs", "outputs"):
        for value in made[what]:
            shown.add_row(what.removesuffix("s"), value["name"], value["type"], _shape(value))
    results.print(shown)
    for name, text in made["metadata"].items():
        results.print(f"{name:<12} {text}", markup=False, highlight=False)
    results.print(f"{made['file']}: {made['bytes']:,} bytes", markup=False, highlight=False)


def _shape(value: Value) -> str:
    return "(" + ", ".join(map(str, value["shape"])) + ")"
