"""`snn endpoint`: where a stack's endpoint is, and asking it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from snn.errors import InvalidInput
from snn_cli.aws import Aws, on_aws
from snn_cli.console import Json, answer, results, table
from snn_client.serving.asking import CSV_TYPE, JSON_TYPE, PHOTO, Answer, Prediction, Secrets, ask, callable_url

app = typer.Typer(no_args_is_help=True, help="The endpoint: where it is, and what it answers.")

KEY = "SNN_ENDPOINT_KEY"
TOKEN = "SNN_ENDPOINT_TOKEN"  # noqa: S105 - the variable's name
KINDS = {".json": JSON_TYPE, ".csv": CSV_TYPE}


@app.command()
@on_aws
def url(aws: Aws, as_json: Json = False) -> None:
    """Print the address at which the endpoint can be called from here.

    \b
    Examples:
      curl --aws-sigv4 aws:amz:us-east-1:lambda --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \\
        -H "Content-Type: image/jpeg" --data-binary @cat.jpg "$(snn endpoint url)/invocations"
    """
    address = callable_url(aws.clients, aws.outputs)
    told = {"url": address, "endpoint": aws.outputs.endpoint, "function": aws.outputs.predict_function}
    answer(told, as_json, lambda: results.print(address, markup=False, soft_wrap=True))


@app.command("ask")
@on_aws
def ask_(
    aws: Aws,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="photos; rows as .json or .csv")],
    model: Annotated[str, typer.Option("--model", help="another model, or a version: cats, cats/7, cats/my-run")] = "",
    as_json: Json = False,
) -> None:
    """Ask the endpoint, as any other client would: by HTTP, signed or with what it asks for.

    The key of an endpoint that wants one is taken from SNN_ENDPOINT_KEY, a
    JSON Web Token from SNN_ENDPOINT_TOKEN.

    \b
    Examples:
      snn endpoint ask samples/cat.png
      snn endpoint ask rows.csv --model prices
    """
    asked = list[tuple[Path, Answer]]()
    for file in files:
        kind = KINDS.get(file.suffix.lower(), PHOTO)
        asked.append(
            (file, ask(
                aws.clients, aws.outputs, file.read_bytes(), kind, secrets=secrets(aws), key=os.environ.get(KEY, ""),
                token=os.environ.get(TOKEN, ""), target=model,
            ))
        )  # fmt: skip
    told = [{"file": str(file), **said} for file, said in asked]
    answer(told, as_json, lambda: _show(asked))


def secrets(aws: Aws) -> Secrets | None:
    """Return the credentials to sign with, those that all else is asked with; None where a signature is not asked for.

    Raises InvalidInput if there are none.
    """
    if aws.outputs.endpoint != "iam":
        return None
    import boto3

    found = (boto3.DEFAULT_SESSION or boto3.Session()).get_credentials()
    if found is None:
        raise InvalidInput("no credentials are configured", source="AWS", hint="aws configure, or AWS_PROFILE")
    now = found.get_frozen_credentials()
    return str(now.access_key), str(now.secret_key), now.token


def _show(asked: list[tuple[Path, Answer]]) -> None:
    shown = table("file", "answer", "probability", "version")
    for file, said in asked:
        label = said["model"]
        version = f"{label['name']}/{label['version'] or label['run_id']}"
        for number, one in enumerate(said["predictions"], start=1):
            name = str(file) if len(said["predictions"]) == 1 else f"{file}#{number}"
            shown.add_row(name, *_words(one), version)
    results.print(shown)


def _words(one: Prediction) -> tuple[str, str]:
    if "value" in one:
        return f"{one['value']:g}", ""
    unlike = " (unlike anything it was trained on)" if one.get("unlike") else ""
    return f"{one.get('class_name', json.dumps(one))}{unlike}", f"{one.get('probability', 0.0):.4f}"
