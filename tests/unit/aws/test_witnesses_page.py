"""docs/witnesses.md names every operation that the product asks AWS for, and is as its own table says."""

from __future__ import annotations

import re
from pathlib import Path

import held
import pytest
import witnesses
from aws_calls import places
from witnesses import EMULATORS, PAGE, claimed, record, table, written


def test_the_page_has_every_operation_and_what_it_lacks() -> None:
    page = PAGE.read_text()
    assert page == written(page, {emulator: claimed(page, emulator) for emulator in EMULATORS})
    assert re.findall(r"^\| `(\w+\.\w+)` \|", page, re.MULTILINE) == sorted({place.operation for place in places()})
    assert claimed(page, "moto")
    assert claimed(page, "ministack")


def test_an_operation_without_a_second_witness_is_named() -> None:
    everything = {place.operation for place in places()}
    text = table({"ministack": everything - {"s3.GetObject"}, "moto": {"s3.PutObject"}})
    assert "Without a second witness: `s3.GetObject`." in text
    assert "Without a second witness: none." in table({"ministack": everything, "moto": set()})


def test_a_run_of_all_tests_notices_what_is_not_asked_for_any_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    heard = {emulator: held.Heard(of_product=claimed(PAGE.read_text(), emulator)) for emulator in EMULATORS}
    monkeypatch.setattr(held, "heard", heard)
    monkeypatch.setattr(witnesses, "results", lambda emulator: tmp_path / emulator)
    files = list((PAGE.parents[1] / "tests" / "moto").glob("test_*.py"))
    assert record(files) == []
    heard["moto"].of_product.remove("s3.GetObject")
    assert record(files[1:]) == []
    assert record(files) == ["witnesses.md says that moto answers s3.GetObject; nobody asked"]
    assert "s3.PutObject" in (tmp_path / "moto").read_text()
    assert not (tmp_path / "ministack").exists()
