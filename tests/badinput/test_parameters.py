"""Parameters as a file, as the form's fields, and in a launch request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from badinput.given import JSON, NO_FILES, changed, damaged, network, no_file, parameters
from badinput.tally import generated, judge
from hypothesis import given
from hypothesis import strategies as st

from snn.errors import InvalidInput, InvalidParameters
from snn_cloud.launch.request import LaunchRequest
from snn_cloud.ledger.parameters import Parameters

FILE, REQUEST, FORM = "parameters.json", "LaunchLambda, direct", "form"
TEXT = json.dumps(network())

BAD: dict[str, tuple[str | bytes, str]] = {
    "nothing": (b"", "is not JSON"),
    "null": ("null", "is not a JSON object"),
    "a list": ("[1]", "is not a JSON object"),
    "two objects": (TEXT + TEXT, "is not JSON"),
    "a comment": ("// mine\n" + TEXT, "is not JSON"),
    "a comma too many": (TEXT[:-1] + ",}", "is not JSON"),
    "Python": (str(network()), "is not JSON"),
    "a BOM in text": ("\ufeff" + TEXT, "is not JSON"),
    "Latin-1": (TEXT.replace("relu", "relü").encode("latin-1"), "is not JSON"),
    "zeros": (bytes(1_000), "is not JSON"),
    "NaN": (TEXT.replace("0.1", "NaN"), "NaN is not a finite number"),
    "-Infinity": (TEXT.replace("0.1", "-Infinity"), "-Infinity is not a finite number"),
    "1e400": (TEXT.replace("0.1", "1e400"), "learning_rate: .*finite"),
    "epochs of 400 digits": (TEXT.replace('"epochs": 3', f'"epochs": {"9" * 400}'), "epochs: "),
    "epochs of 5,000 digits": (TEXT.replace('"epochs": 3', f'"epochs": {"9" * 5_000}'), "is not JSON: .*digits"),
    "seed of 64 bits": (TEXT.replace("{", '{"seed": 18446744073709551615, ', 1), "seed: "),
    "a key twice": (TEXT.replace("{", '{"epochs": 9, ', 1), "epochs: stands twice .keep one"),
    "a key twice, deep": (TEXT.replace('{"layer1"', '{"layer1": 9, "layer1"', 1), "layer1: stands twice"),
    "deep": ('{"epochs":' * 90_000, "is not JSON"),
    "deep and closed": ('{"epochs":' + "[" * 90_000 + "]" * 90_000 + "}", "(is not JSON|epochs)"),
    "100 MB": (b'{"epochs": "' + b"x" * 100_000_000 + b'"}', "is larger than 1 MB"),
    "90,000 keys": (json.dumps(network() | {f"k{i}": 0 for i in range(90_000)}), "larger than 1 MB|is not a parameter"),
    "50,000 keys": (json.dumps(network() | {f"k{i}": 0 for i in range(50_000)}), "is not a parameter"),
    "a key of 100,000 letters": (json.dumps({**network(), "k" * 100_000: 0}), "is not a parameter .*known are"),
    "a key of control characters": (json.dumps({**network(), "\x1b[2J\r\n\u202e": 0}), "is not a parameter"),
    "half a pair": (TEXT.replace("relu", "\\ud800"), "holds half of a surrogate pair"),
    "99 layers of which none": (json.dumps({**network(), "layers": 99}), "activations: .*layers is 99 .name exactly"),
}


@pytest.mark.parametrize("name", BAD)
def test_the_list(name: str, tmp_path: Path) -> None:
    text, says = BAD[name]
    path = tmp_path / "given.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    given: list[Any] = [text] if name == "a BOM in text" else [text, path]
    for one in given:
        with pytest.raises(InvalidParameters, match=says) as refused:
            Parameters.load(one)
        line = str(refused.value)
        judge(FILE, "list", lambda error=refused.value: _raise(error))
        assert line.endswith(")") or ": Input should" in line or "is not a finite number" in line, line


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le"])
def test_any_unicode_is_read(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "given.json"
    path.write_bytes(TEXT.encode(encoding))
    assert judge(FILE, "encodings", lambda: Parameters.load(path)) == Parameters.load(network())


@pytest.mark.parametrize("kind", NO_FILES)
def test_a_path_that_is_no_file(kind: str, tmp_path: Path) -> None:
    path = no_file(kind, tmp_path / "given.json")
    assert judge(FILE, "paths", lambda: Parameters.load(path)) is None


@generated
@given(parameters() | JSON.filter(lambda value: isinstance(value, dict)))
def test_any_values(fields: dict[str, Any]) -> None:
    loaded = judge(FILE, "values", lambda: Parameters.load(fields))
    if loaded:
        assert Parameters.load(loaded.to_json()) == loaded
        assert all(getattr(loaded, name) == value for name, value in fields.items() if value is not None)


@generated
@given(damaged(TEXT.encode()))
def test_a_damaged_text(text: bytes) -> None:
    loaded = judge(FILE, "some bytes changed", lambda: Parameters.load(text))
    if loaded:
        assert Parameters.load(json.loads(text)) == loaded


GOOD_REQUEST = {
    "run_id": "r", "dataset": "runs/r/input/d.h5", "dataset_version": "v", "parameters": network(), "promote": True,
    "trainer_seconds": 2.0, "resume_from": "older",
}  # fmt: skip


@generated
@given(changed(GOOD_REQUEST))
def test_any_request(event: Any) -> None:
    def ask() -> LaunchRequest:
        asked = LaunchRequest.load(event)
        Parameters.load(asked.parameters)
        return asked

    asked = judge(REQUEST, "events", ask, InvalidInput)
    if asked:
        assert asked.model_dump(exclude_unset=True) == event


def test_a_deep_request() -> None:
    deep: dict[str, Any] = {}
    within = deep
    for _ in range(100_000):
        within["epochs"] = {}
        within = within["epochs"]
    assert judge(REQUEST, "events", lambda: Parameters.load(LaunchRequest.load({**GOOD_REQUEST, "parameters": deep}).parameters)) is None  # fmt: skip  # noqa: E501
    del within
    while deep:  # by hand: Python's own way is as deep
        deep = deep.pop("epochs", {})


# The form: what Airflow's own check of the fields lets through is read as the stage task reads it.

VALUES = st.one_of(JSON, st.sampled_from([1, 0.5, "average", "neuron", None, 10**400, "5", True, 1e-300]))


@generated
@given(st.data())
def test_any_form(data: st.DataObject) -> None:
    pytest.importorskip("airflow.sdk")
    from airflow.sdk.exceptions import ParamValidationError

    from snn_operators.fields import PATHS
    from snn_operators.fields import value as read
    from snn_operators.form import OVERRIDES, training_form

    name = data.draw(st.sampled_from([*OVERRIDES, "dataset", "images", "stack_name", "parameters_file", "deploy"]))
    value = data.draw(VALUES)

    def ask() -> Parameters | None:
        param = training_form()[name]
        try:
            param.value = value
            resolved = param.resolve()
        except ParamValidationError as error:  # Airflow's: several lines, the first says what
            raise InvalidInput(str(error).splitlines()[0], field=name) from None
        if name in OVERRIDES:
            # As in a template: natively, or as text.
            for given in (resolved, str(resolved)):
                Parameters.load(network(), **{name: read(given)})
        elif name == "images":
            assert all(isinstance(path, str) and path for path in PATHS.or_else(())(name, resolved))
        return None

    judge(FORM, "fields", ask, InvalidInput)
