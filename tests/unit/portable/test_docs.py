"""The snippets of docs/portable.md do what the page says, on models that were exported."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from documentation import ROOT, fences
from PIL import Image
from portable import Ran, a_model

from snn_client.portable.exporting import to_onnx
from snn_data.columns import Category, Columns, Number
from snn_photos.reading import load_image

PAGE = ROOT / "docs" / "portable.md"


def snippet(word: str) -> str:
    (text,) = [fence.text for fence in fences("python") if fence.page == PAGE and word in fence.text]
    return text


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_photo(capsys: pytest.CaptureFixture[str]) -> None:
    model = a_model(["relu", "sigmoid"], [7, 1], 27 * 25 * 3, image_shape="[27, 25, 3]", classes='["dog", "cat"]')
    Path("model.onnx").write_bytes(to_onnx(model))
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)).save("cat.png")
    exec(compile(snippet("photos"), str(PAGE), "exec"), {})
    said = re.fullmatch(r"(dog|cat) \[(\S+) +(\S+)\]\n", capsys.readouterr().out)
    assert said
    (wanted,) = model.answers(load_image("cat.png", (27, 25, 3)))[0]
    assert float(said[3]) == pytest.approx(wanted, abs=1e-6)
    assert float(said[2]) == pytest.approx(1 - wanted, abs=1e-6)
    assert said[1] == ("cat" if wanted > 0.5 else "dog")


def test_rows(capsys: pytest.CaptureFixture[str]) -> None:
    columns = Columns((Number("age", 40.0, 12.0), Category("work class", ("Private", "State-gov"))))
    model = a_model(["identity", "softmax"], [5, 3], 3, columns=columns.to_json())
    Path("model.onnx").write_bytes(to_onnx(model))
    exec(compile(snippet("work_class"), str(PAGE), "exec"), {})
    wanted = model.answers(columns.encode_rows([[39.0, "Private"], [None, None]], "rows").T).argmax(axis=0)
    printed = capsys.readouterr().out
    assert re.sub(r", dtype=int64", "", printed) == f"[array([{wanted[0]}, {wanted[1]}])]\n"


def test_the_tables_of_inputs_outputs_and_properties_are_whole() -> None:
    text = PAGE.read_text()
    models = [
        a_model(["sigmoid"], [1], 12, image_shape="[2, 2, 3]"),
        a_model(["identity"], [1]),
        a_model(["softmax"], [3], 1, columns=Columns((Number("age", 0.0, 1.0),)).to_json()),
    ]
    files = [Ran.of(model) for model in models]
    named = {name.strip("`") for cell in re.findall(r"^\| (`[^|]*`) \|", text, re.M) for name in cell.split(", ")}
    outputs = set().union(*(file.outputs for file in files))
    properties = set().union(*(file.metadata for file in files)) | {"backbone"}
    assert outputs | properties <= named
    assert named <= outputs | properties | {name for name in named if name.startswith("snn.")}
    assert "`photos` (m, height, width, 3 or 1)" in text
    assert "`features` (m, d)" in text
