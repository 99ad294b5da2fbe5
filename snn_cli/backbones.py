"""`snn backbone`: the pretrained networks of a stack, whose features of photos are learned."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from snn.errors import InvalidImage, InvalidInput
from snn_cli.aws import Aws, on_aws
from snn_cli.console import Json, answer, interruptible, say, table
from snn_cli.tables import show
from snn_client.backbones import builtin, catalogue, forgetting
from snn_data.files import read_file
from snn_photos.pictures import MAX_BYTES
from snn_photos.reference import BackboneReference

app = typer.Typer(no_args_is_help=True, help="Add, list or check pretrained networks.")
Source = Annotated[
    str, typer.Argument(help=f"an ONNX file, with a JSON file beside it, or a name: {', '.join(builtin.BUILT_IN)}")
]
Name = Annotated[str, typer.Option(help="what it is called; default: the file's name")]


@app.command("add")
@on_aws
def add_command(aws: Aws, source: Source, name: Name = "", as_json: Json = False) -> None:
    """Check a backbone, and add it to the stack.

    \b
    Examples:
      snn backbone add efficientnet-lite0
      snn backbone add resnet18.onnx
    """
    with interruptible(lambda: "The backbone was not added."):
        content, reference = _checked(source, name)
        catalogue.add(aws.clients, aws.outputs.bucket, content, reference)
    answer(_told(reference), as_json, lambda: say(f"added {_line(reference)}", markup=False))


@app.command("list")
@on_aws
def list_command(aws: Aws, as_json: Json = False) -> None:
    """List the stack's backbones."""
    found = catalogue.listed(aws.clients, aws.outputs.bucket)
    rows = table("name", "features", "photos", "digest")
    for each in found:
        rows.add_row(each.name, f"{each.features:,}", _size(each), each.digest)
    answer([_told(each) for each in found], as_json, lambda: show(rows))


@app.command("forget")
@on_aws
def forget_command(
    aws: Aws,
    photos: Annotated[list[Path] | None, typer.Argument(help="photos whose features are deleted")] = None,
    run: Annotated[str, typer.Option(help="those of the photos that a run, or a sweep, learned from")] = "",
    name: Annotated[str, typer.Option("--backbone", help="of this backbone alone; all of it without others")] = "",
    as_json: Json = False,
) -> None:
    """Delete features of photos, which are computed anew when they are needed. Data sets and models stay.

    \b
    Examples:
      snn backbone forget me.jpg
      snn backbone forget --run my-photos-1130-101500-ab12
      snn backbone forget --backbone efficientnet-lite0
    """
    if not (photos or run or name):
        raise InvalidInput("says nothing", source="snn backbone forget", hint="give photos, --run or --backbone")
    backbone = catalogue.named(aws.clients, aws.outputs.bucket, name) if name else None
    digests = [hashlib.sha256(read_file(photo, MAX_BYTES, InvalidImage)).hexdigest() for photo in photos or ()]
    digests += forgetting.photos_of(aws.clients, aws.outputs.bucket, run) if run else []
    gone = forgetting.forget(aws.clients, aws.outputs.bucket, digests if photos or run else None, backbone)
    answer({"deleted": gone}, as_json, lambda: say(f"photos whose features were deleted: {gone:,}", markup=False))


@app.command("remove")
@on_aws
def remove_command(aws: Aws, name: Annotated[str, typer.Argument()], as_json: Json = False) -> None:
    """Remove a backbone with all its features. Models that learned them need it to predict: add it again for those."""
    gone = forgetting.remove(aws.clients, aws.outputs.bucket, catalogue.named(aws.clients, aws.outputs.bucket, name))
    told = f"removed {name}; photos whose features went with it: {gone:,}"
    answer({"removed": name, "deleted": gone}, as_json, lambda: say(told, markup=False))


@app.command("check")
def check_command(source: Source, name: Name = "") -> None:
    """Check a backbone as it is checked when it is added; nothing is sent anywhere."""
    _, reference = _checked(source, name)
    say(_line(reference), markup=False)


def _checked(source: str, name: str) -> tuple[bytes, BackboneReference]:
    """Return the file of a backbone, and its reference. Raises InvalidInput."""
    if source in builtin.BUILT_IN:
        content, preprocessing = builtin.make(source, lambda line: say(line, markup=False))
        return content, catalogue.check(content, preprocessing, name or source, source)
    if not source.endswith(".onnx"):
        hint = f"give an ONNX file, or {' or '.join(builtin.BUILT_IN)}"
        raise InvalidInput("is no backbone", source=source, hint=hint)
    content, preprocessing = catalogue.read_backbone(Path(source))
    return content, catalogue.check(content, preprocessing, name or Path(source).stem.lower().replace("_", "-"), source)


def _told(reference: BackboneReference) -> dict[str, object]:
    return {**reference.model_dump(), "digest": reference.digest}


def _line(reference: BackboneReference) -> str:
    return f"{reference.name}: {reference.features:,} features of photos of {_size(reference)}, {reference.digest}"


def _size(reference: BackboneReference) -> str:
    return f"{reference.preprocessing.width}×{reference.preprocessing.height}"
