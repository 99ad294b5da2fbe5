"""docs/witnesses.md names every operation that the product asks AWS for, and is as its own table says."""

from __future__ import annotations

import re
from pathlib import Path

import held
import pytest
import witnesses
from aws_calls import places
from witnesses import EMULATORS, PAGE, answered, claimed, files_of, record, table, written


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


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, held.Heard]:
    """What emulators have answered in this run, and a folder for what runs leave."""
    heard = {emulator: held.Heard(of_product=claimed(PAGE.read_text(), emulator)) for emulator in EMULATORS}
    monkeypatch.setattr(held, "heard", heard)
    monkeypatch.setattr(witnesses, "results", lambda emulator: tmp_path / emulator)
    return heard


LOST = "witnesses.md says that moto answers s3.GetObject; nobody asked"


def test_a_run_of_all_tests_notices_what_is_not_asked_for_any_more(
    heard: dict[str, held.Heard], tmp_path: Path
) -> None:
    files = sorted(files_of("moto"))
    assert record(files)[0] == []
    heard["moto"].of_product.remove("s3.GetObject")
    assert record(files)[0] == [LOST]
    assert answered("ministack") is None
    assert not (tmp_path / "ministack").exists()


def test_so_do_runs_of_some_files_each_once_all_have_run(heard: dict[str, held.Heard]) -> None:
    first, others = sorted(files_of("moto"))[:1], sorted(files_of("moto"))[1:]
    whole = set(heard["moto"].of_product)
    heard["moto"].of_product = whole - {"s3.GetObject"}
    assert record(first) == ([], [])  # what the others ask for is not known yet
    assert answered("moto") is None
    heard["moto"].of_product = {"s3.GetObject"}
    assert record(others)[0] == []
    heard["moto"].of_product = {"s3.PutObject"}
    assert record(others)[0] == [LOST]
    heard["moto"].of_product = whole
    assert record(others[:1]) == ([], [])  # this one's answers are new, and those of the rest are not known any more
    assert answered("moto") is None


def test_a_listed_deviation_that_is_gone_is_told_of(
    heard: dict[str, held.Heard], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, unasked = held.Deviation("sqs.ListQueues", "x", "why"), held.Deviation("sqs.TagQueue", "x", "why")
    monkeypatch.setitem(held.KNOWN, "moto", {gone: "", unasked: ""})
    heard["moto"].operations.add("sqs.ListQueues")
    told = [f"take it out of held.KNOWN, it is as AWS has it: {gone}"]
    assert record(files_of("moto")) == ([], told)
    heard["moto"].deviations[gone] = "value"
    assert record(files_of("moto")) == ([], [])
