"""The result of a batch: its parts, one after the other, as one file of answers and one of bad inputs."""

from __future__ import annotations

import csv
import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TextIO

import pyarrow as pa
import pyarrow.parquet as pa_parquet

from snn_client.serving.batch_contents import Format
from snn_client.serving.batch_parts import PartDone, hash_of
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError
from snn_cloud.serve.batch import Answered
from snn_data.model import Model

ERRORS: dict[Format, str] = {"jsonl": "errors.jsonl", "csv": "bad.csv", "parquet": "errors.jsonl"}
"""What the file of bad inputs is called, beside `result.<format>`."""

KINDS = {
    "predicted": pa.int64(), "class_name": pa.string(), "probability": pa.float64(),
    "probabilities": pa.list_(pa.float64()), "value": pa.float64(), "unlike": pa.bool_(),
}  # fmt: skip


class Written:
    """The two files in a folder; of bad inputs there may be none, and no file then."""

    def __init__(self, folder: Path, kind: Format) -> None:
        self.result, self.errors = folder / f"result.{kind}", folder / ERRORS[kind]
        self.answered = self.bad = 0


def write(
    clients: Clients, bucket: str, batch_id: str, parts: Sequence[PartDone], model: Model, kind: Format, folder: Path,
    on_progress: Callable[[int], None],
) -> Written:  # fmt: skip
    """Write the answers of all parts, in order of their numbers, into a folder; never more than a part is held.

    Raises CloudError if a part does not hold an answer to each of its inputs, once and in their order.
    """
    written = Written(folder, kind)
    with ExitStack() as stack:
        good = stack.enter_context(_opened(written.result, kind, model))
        bad = None
        for part in sorted(parts, key=lambda each: each.number):
            answers = list(_read(clients, bucket, batch_id, part))
            good.write([answer for answer in answers if "prediction" in answer])
            wrong = [answer for answer in answers if "error" in answer]
            if wrong and bad is None:
                bad = stack.enter_context(_opened_errors(written.errors))
            if bad is not None:
                bad.write(wrong)
            written.answered += len(answers) - len(wrong)
            written.bad += len(wrong)
            on_progress(written.answered + written.bad)
    return written


def store(clients: Clients, bucket: str, batch_id: str, written: Written) -> tuple[str, str]:
    """Upload the files, large ones in parts; return their addresses, "" for that of bad inputs if there are none."""
    addresses = []
    for path in (written.result, written.errors):
        if not path.exists():
            addresses.append("")
            continue
        key = places.batch_result(batch_id, path.name)
        clients.s3.upload_file(str(path), bucket, key)
        addresses.append(f"s3://{bucket}/{key}")
    return addresses[0], addresses[1]


def keep_here(written: Written, out: Path) -> Path | None:
    """Copy the files to a path of this machine; bad inputs lie beside it. Return their path, None if there are none.

    Whoever looks at the paths sees what was there before, or the whole of what is there now.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    errors = out.with_name(f"{out.stem}-{written.errors.name}")
    for path, target in ((written.result, out), (written.errors, errors)):
        if not path.exists():
            target.unlink(missing_ok=True)  # of an earlier batch
            continue
        unfinished = target.with_name(f".{target.name}.part")
        try:
            shutil.copyfile(path, unfinished)
            os.replace(unfinished, target)
        finally:
            unfinished.unlink(missing_ok=True)
    return errors if written.errors.exists() else None


def _read(clients: Clients, bucket: str, batch_id: str, part: PartDone) -> Iterator[Answered]:
    key = places.batch_part(batch_id, part.number)
    content = clients.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    try:
        answers: list[Answered] = [json.loads(line) for line in content.splitlines()]
        names = hash_of(answer["input"] for answer in answers)
    except (ValueError, TypeError, KeyError):
        answers, names = [], b""
    if names != part.names:
        raise CloudError(f"s3://{bucket}/{key} does not answer each of its inputs once (delete it, and start again)")
    yield from answers


def _fields(model: Model) -> list[str]:
    """Return what a model's answers hold, as columns."""
    said = ["predicted", "class_name", "probability", "probabilities"] if model.of_classes else ["value"]
    return [*said, *(["unlike"] if "backbone" in model.attributes else [])]


def _flat(answer: Answered, fields: Sequence[str]) -> dict[str, Any]:
    said: Mapping[str, Any] = answer["prediction"]
    return {"input": answer["input"], **{name: said.get(name) for name in fields}}


class _File(ABC):
    """A file that answers are written to, some at a time."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def write(self, answers: Sequence[Answered]) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


class _Lines(_File):
    """JSON Lines, as the parts have them."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("w", encoding="utf-8")

    def close(self) -> None:
        self._file.close()

    def write(self, answers: Sequence[Answered]) -> None:
        self._file.writelines(json.dumps(answer, separators=(",", ":")) + "\n" for answer in answers)


class _Csv(_File):
    """CSV with a header; a list is JSON text, a value that is missing nothing."""

    def __init__(self, path: Path, fields: Sequence[str], flat: Callable[[Answered], dict[str, Any]]) -> None:
        self._file, self._flat = path.open("w", encoding="utf-8", newline=""), flat
        self._writer = csv.DictWriter(self._file, fields, lineterminator="\n")
        self._writer.writeheader()

    def close(self) -> None:
        self._file.close()

    def write(self, answers: Sequence[Answered]) -> None:
        for answer in answers:
            row = self._flat(answer)
            self._writer.writerow({n: json.dumps(v) if isinstance(v, list) else v for n, v in row.items()})


class _Parquet(_File):
    """Parquet, a row group for each part."""

    def __init__(self, path: Path, fields: Sequence[str]) -> None:
        self._fields = fields
        self._schema = pa.schema([("input", pa.string()), *((name, KINDS[name]) for name in fields)])
        self._writer = pa_parquet.ParquetWriter(path, self._schema)

    def close(self) -> None:
        self._writer.close()

    def write(self, answers: Sequence[Answered]) -> None:
        rows = [_flat(answer, self._fields) for answer in answers]
        self._writer.write_table(pa.Table.from_pylist(rows, self._schema))


def _opened(path: Path, kind: Format, model: Model) -> _File:
    fields = _fields(model)
    if kind == "parquet":
        return _Parquet(path, fields)
    if kind == "csv":
        return _Csv(path, ["input", *fields], lambda answer: _flat(answer, fields))
    return _Lines(path)


def _opened_errors(path: Path) -> _File:
    if path.suffix == ".csv":
        return _Csv(path, ["input", "error"], lambda answer: {"input": answer["input"], "error": answer["error"]})
    return _Lines(path)
