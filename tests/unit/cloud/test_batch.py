"""How a batch is cut into parts, and what a part answers; without AWS."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
import pytest
from numpy.testing import assert_allclose
from served import KINDS, picture_of

from snn.errors import InvalidInput
from snn_client.serving import batch_photos, batch_rows
from snn_client.serving.batch_inputs import CHARACTERS_AT_ONCE, SourceChanged, check_kind
from snn_client.serving.batch_photos import PhotosInFolder
from snn_client.serving.batch_rows import Rows, json_values
from snn_cloud.aws import places
from snn_cloud.serve.batch import Taking, work
from snn_cloud.serve.http import Refused
from snn_cloud.serve.loaded import Loaded

NOBODY: Any = None  # no AWS


class Stored:
    """Stands where S3 is written to; nothing else is asked of it."""

    def __init__(self) -> None:
        self.s3, self.body, self.beside = self, b"", dict[str, str]()

    def put_object(self, *, Body: bytes, Metadata: dict[str, str], **_: Any) -> None:
        self.body, self.beside = Body, Metadata

    def take(self) -> dict[str, int]:
        return {}


class Deployed:
    """One version, which is loaded."""

    def __init__(self, kind: str) -> None:
        self.loaded = Loaded({"name": "m", "version": 1, "run_id": "r"}, KINDS[kind].model("r"))

    def version(self, name: str, version: str) -> Loaded:
        if version != "r":
            raise Refused(404, f"the model {name} has no version {version}")
        return self.loaded


def answered(kind: str, **fields: Any) -> tuple[list[dict[str, Any]], Stored]:
    stored: Any = Stored()
    names = [f"n{place}" for place in range(len(fields.get("photos") or fields["rows"]))]
    part: Any = {"batch_id": "b", "number": 1, "digest": "d", "model": "m", "run_id": "r", "names": names, **fields}
    deployed: Any = Deployed(kind)
    done = work(part, deployed, "bucket", stored, Taking(stored, 1769, 0))
    lines = [json.loads(line) for line in stored.body.splitlines()]
    assert [line["input"] for line in lines] == names
    assert done == {"inputs": len(lines), "bad": sum("error" in line for line in lines)}
    assert (stored.beside["inputs"], stored.beside["bad"]) == (str(done["inputs"]), str(done["bad"]))
    return lines, stored


def folder(path: Path, sizes: list[int]) -> Path:
    path.mkdir()
    for place, size in enumerate(sizes):
        (path / f"{place:03}.png").write_bytes(b"x" * size)
    return path


def cut(source: Any) -> list[int]:
    return [len(inputs.names) for inputs in source.parts()]


def test_photos_are_cut_by_number_by_bytes_and_by_what_an_event_holds(tmp_path: Path) -> None:
    def parts(name: str, sizes: list[int]) -> list[int]:
        source = PhotosInFolder(NOBODY, "b", folder(tmp_path / name, sizes))
        survey = source.survey()
        found = cut(source)
        assert (survey.inputs, survey.parts, survey.size) == (len(sizes), len(found), sum(sizes))
        return found

    assert parts("many", [10] * 120) == [50, 50, 20]
    # A million bytes are 1,333,336 characters: four of them and their names fit, five do not.
    assert parts("inline", [1_000_000] * 9) == [4, 4, 1]
    assert parts("large", [10_000_000] * 7) == [3, 3, 1]
    assert parts("one too many", [40_000_000, 1, 2]) == [1, 2]


@pytest.mark.parametrize("size", [1, 99_999, 2_000_000, batch_photos.MAX_INLINE])
def test_no_event_is_larger_than_lambda_takes(tmp_path: Path, size: int) -> None:
    source = PhotosInFolder(NOBODY, "b", folder(tmp_path / "p", [size] * 60))
    for inputs in source.parts():
        event = json.dumps({"batch": {"names": list(inputs.names), **inputs.task()}})
        assert len(event) < 6_000_000
        assert len(event) > 50 * size or size > 90_000


def test_the_same_folder_has_the_same_digest_and_a_change_another(tmp_path: Path) -> None:
    photos = folder(tmp_path / "p", [5] * 60)
    (photos / ".hidden").write_bytes(b"")
    (photos / "Thumbs.db").write_bytes(b"")
    source = PhotosInFolder(NOBODY, "b", photos)
    first = source.survey()
    assert PhotosInFolder(NOBODY, "b", photos).survey() == first
    assert first.inputs == 60
    stamps = [inputs.stamp for inputs in source.parts()]
    parts = list(source.parts())
    (photos / "059.png").write_bytes(b"y" * 6)
    with pytest.raises(SourceChanged, match=r"p/059.png changed while the batch was running"):
        parts[1].task()
    with pytest.raises(SourceChanged, match=r"p changed while"):
        list(source.parts())
    assert PhotosInFolder(NOBODY, "b", photos).survey().digest != first.digest
    os.remove(photos / "000.png")
    with pytest.raises(SourceChanged, match=r"p/000.png changed"):
        parts[0].task()
    assert len(set(stamps)) == 2


def test_rows_are_cut_by_number_by_classes_and_by_what_an_event_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.csv"
    words = ["x" * 100_000] * 130
    pa_csv.write_csv(pa.table({"height": [1.0] * 130, "weight": [2.0] * 130, "colour": words}), path)
    model = KINDS["a table of two classes"].model("r")
    source = Rows(path, model)
    assert source.survey()[:3] == (130, 1, path.stat().st_size)
    sizes = cut(source)
    assert sizes == [54, 54, 22]
    for inputs in source.parts():
        assert len(json.dumps([list(inputs.names), inputs.task()])) < CHARACTERS_AT_ONCE + 100_000
    monkeypatch.setattr(batch_rows, "ROWS_AT_ONCE", 40)
    assert cut(Rows(path, model)) == [40, 40, 40, 10]
    monkeypatch.setattr(batch_rows, "ANSWERS_AT_ONCE", 60)
    assert max(cut(Rows(path, model))) == 30
    first = next(iter(Rows(path, model).parts()))
    assert first.names[:2] == ["rows.csv#1", "rows.csv#2"]
    assert first.task()["columns"] == ["height", "weight", "colour"]


def test_a_table_is_read_again_to_the_same_parts_and_another_is_another(tmp_path: Path) -> None:
    path, model = tmp_path / "rows.parquet", KINDS["features of three classes"].model("r")
    values = np.random.default_rng(0).standard_normal((20_000, 9))
    pa_parquet.write_table(pa.table({str(place): values[:, place] for place in range(9)}), path)
    source = Rows(path, model)
    survey, stamps = source.survey(), [inputs.stamp for inputs in source.parts()]
    assert survey == Rows(path, model).survey()
    assert stamps == [inputs.stamp for inputs in Rows(path, model).parts()]
    assert (survey.inputs, survey.parts, len(set(stamps))) == (20_000, 4, 4)
    assert_allclose(np.concatenate([inputs.task()["rows"] for inputs in source.parts()]), values, rtol=0, atol=0)
    reading = source.parts()
    next(reading)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(SourceChanged, match=r"rows.parquet changed while the batch was running"):
        list(reading)
    assert survey.digest != Rows.survey.__get__(source)().digest if path.stat().st_size == survey.size else True


def test_values_are_what_json_has() -> None:
    assert json_values(pa.array([1.5, None, float("nan"), float("inf")]), is_text=False) == [1.5, None, None, "inf"]
    assert json_values(pa.array(["1.5", None, "x"]), is_text=False) == ["1.5", None, "x"]
    assert json_values(pa.array([1.0, 2.5, None]), is_text=True) == ["1", "2.5", None]
    assert json_values(pa.array([True, False]), is_text=True) == ["true", "false"]
    assert json_values(pa.array(["a", "b", "a"]).dictionary_encode(), is_text=True) == ["a", "b", "a"]
    assert json_values(pa.array(["2026-11-29"]).cast(pa.date32()), is_text=False) == ["2026-11-29"]


def test_a_model_reads_what_it_reads() -> None:
    table, photos = KINDS["a table with numbers"].model("r"), KINDS["photos of two classes"].model("r")
    check_kind(table, "rows", "x.csv")
    check_kind(photos, "photos", "p")
    with pytest.raises(InvalidInput, match=r"reads photos, not tables \(x.csv is a table"):
        check_kind(photos, "rows", "x.csv")
    with pytest.raises(InvalidInput, match=r"reads rows of a table, not photos"):
        check_kind(table, "photos", "p")


def test_a_bad_input_is_named_and_spoils_no_other() -> None:
    good = [[1.7, 70.0, "red"], [1.6, None, None]]
    columns = ["height", "weight", "colour"]
    alone, _ = answered("a table of two classes", rows=good, columns=columns, first=1)
    lines, _ = answered(
        "a table of two classes", rows=[good[0], ["tall", 1, "red"], good[1], [1, "inf", "red"], [1, 2, ["red"]]],
        columns=columns, first=10_001,
    )  # fmt: skip
    probabilities = [[line["prediction"]["probability"] for line in some] for some in (alone, [lines[0], lines[2]])]
    assert_allclose(*probabilities, rtol=0, atol=1e-15)
    hint = "(give a number, or null where its value is missing)"
    assert [line["error"] for line in (lines[1], lines[3], lines[4])] == [
        f"height: holds 'tall' in row 10,002 {hint}", f"weight: holds 'inf' in row 10,004 {hint}",
        "colour: holds a list in row 10,005 (give text or a number, or null where its value is missing)",
    ]  # fmt: skip


def test_a_row_of_which_no_finite_number_comes_is_bad_alone() -> None:
    lines, _ = answered("a table with numbers", rows=[[1.7, 70, "red"], [1e300, 70, "red"]], columns=["height",
                        "weight", "colour"], first=1)  # fmt: skip
    assert "value" in lines[0]["prediction"]
    assert lines[1]["error"] == "row 2 holds a number that is too large"


def test_a_row_that_reads_like_a_header_is_a_row() -> None:
    lines, _ = answered("a table of two classes", rows=[["height", "weight", "colour"]], columns=["height", "weight",
                        "colour"], first=1)  # fmt: skip
    assert lines[0]["error"].startswith("height: holds 'height' in row 1 (")


def test_a_part_has_the_same_bytes_whenever_it_is_answered() -> None:
    import base64

    random = np.random.default_rng(1)
    photos = [{"content": base64.b64encode(picture_of(random)).decode()} for _ in range(5)]
    photos.insert(2, {"content": base64.b64encode(b"no").decode()})
    first, second = (answered("grey photos of three classes", photos=photos)[1].body for _ in range(2))
    assert first == second
    said = [json.loads(line) for line in first.splitlines()]
    assert said[2]["error"].startswith("not a picture (")
    alone, _ = answered("grey photos of three classes", photos=photos[:1])
    assert alone[0]["prediction"] == said[0]["prediction"]


def test_no_key_leads_out_of_a_batch() -> None:
    assert places.batch_part("b-1", 12) == "predictions/b-1/parts/000012.jsonl"
    for wrong in ("", "..", "a/b", "A", "x" * 64, 7):
        with pytest.raises(InvalidInput, match=r"batch_id: .* is not the id of a batch"):
            places.batch_part(wrong, 1)  # type: ignore[arg-type]
