"""Hypothesis strategies for what people and machines hand in."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import oracle
from hypothesis import strategies as st

from snn_cloud.ledger.parameters import Parameters

ODD_NUMBERS = st.sampled_from(
    [0, -1, 1, 2**31, 2**63, 2**64, 10**30, -(10**400), 10**4000, 1e308, -1e308, 5e-324, float("nan"), float("inf")]
)
ODD_TEXT = st.sampled_from(
    ["", " ", "\0", "\n", "\x1b[31m", "\u202egnp", "\ud800", "ü", "😀", "relu\n", "../../etc/passwd", "a" * 5_000,
     "%00", "{{ params }}", "<script>alert(1)</script>", "None", "null", "1", "NaN"]
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | ODD_NUMBERS | ODD_TEXT
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | ODD_TEXT, inner, max_size=4),
)


def network(**fields: Any) -> dict[str, Any]:
    """What stands in a good parameters.json."""
    return oracle.small_network((5, 4, 1), ("relu", "relu", "sigmoid"), **fields)


PLACES = [*Parameters.model_fields, "neurons.layer1", "activations.layer3", "unknown"]


@st.composite
def parameters(draw: st.DrawFn) -> dict[str, Any]:
    """Good parameters of which one to three places hold anything, or are gone."""
    fields: dict[str, Any] = json.loads(json.dumps(network()))
    for place in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=3, unique=True)):
        field, _, inner = place.partition(".")
        within = fields.get(field) if inner else fields
        if not isinstance(within, dict):
            continue
        if draw(st.integers(0, 9)) == 0:
            within.pop(inner or field, None)
        else:
            within[inner or field] = draw(JSON)
    return fields


@st.composite
def changed(draw: st.DrawFn, good: dict[str, Any]) -> Any:
    """A good event of which one place, at any depth, holds anything, is gone, or has company; or quite another."""
    if draw(st.integers(0, 7)) == 0:
        return draw(JSON)
    event: dict[str, Any] = json.loads(json.dumps(good))
    within: Any = event
    while True:
        where = draw(st.sampled_from(list(within) if isinstance(within, dict) else range(len(within))))
        if not (isinstance(within[where], (dict, list)) and within[where] and draw(st.booleans())):
            break
        within = within[where]
    match draw(st.integers(0, 6)):
        case 0 if isinstance(within, dict):
            del within[where]
        case 1 if isinstance(within, dict):
            within[draw(st.text(max_size=8) | ODD_TEXT)] = draw(JSON)
        case _:
            within[where] = draw(JSON)
    return event


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file with some bytes changed, cut off, put in or taken out; mostly near its beginning."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, len(content) - 1) | st.integers(0, min(2_500, len(content) - 1)))
        match draw(st.integers(0, 9)):
            case 0:
                del content[place:]
            case 1:
                content[place:place] = draw(st.binary(min_size=1, max_size=16))
            case 2:
                del content[place : place + draw(st.integers(1, 16))]
            case 3:
                content[place : place + 8] = draw(st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\xff" * 7 + b"\x7f"]))
            case _:
                content[place] = draw(st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255))
        if not content:
            break
    return bytes(content)


NO_FILES = ["folder", "pipe", "device", "dangling link", "link in a circle", "too long"]


def no_file(kind: str, path: Path) -> Path:
    """Make at `path` what is there but is not a regular file, or is not there; return where it is."""
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            return Path("/dev/zero")
        case "dangling link":
            path.symlink_to("nowhere")
        case "link in a circle":
            path.symlink_to(path)
        case "too long":
            return path.with_name("x" * 300)
    return path
