"""The page of what was measured: what grows is told, and tables are put where their marks are."""

from __future__ import annotations

import copy

import pytest
import reliability
from load import page

PROCESS = {"MB": 100.0, "threads": 1, "files": 10, "sockets": 3}
SAMPLE = {
    "at": 0.0,
    "emulator": {**PROCESS},
    "caller": {**PROCESS},
    "valkey": {**PROCESS, "used": 1.5, "clients": 4, "values": 0, "marks": 9, "for ever": 0},
    "functions": {name: {"1": {**PROCESS}} for name in page.FUNCTIONS},
    "stored": {"objects": 3, "bytes": 9_000, "items": 2, "dead letters": 0},
    "files": {"of the functions": 8, "of the caller": 0},
}
RUN = {"seconds": 0.5, "items": 2, "objects": 3, "keys": 0}


def figures(runs=RUN, **last):
    """A soak of nine samples, the last three with other figures; and of nine runs, the last three others."""
    samples = [{**copy.deepcopy(SAMPLE), "at": 60.0 * number} for number in range(9)]
    for sample in samples[-3:]:
        for part, changes in last.items():
            sample[part].update(changes)
    return {"samples": samples, "runs": {"neuron": [RUN] * 6 + [{**RUN, **runs}] * 3}}


def test_what_is_flat_is_not_told_of():
    assert page.growing(figures()) == []
    assert page.growing(figures(emulator={"MB": 900.0}, stored={"objects": 90, "items": 60})) == []


@pytest.mark.parametrize(
    ("grown", "told"),
    [
        ({"functions": {"NeuronLambda": {"1": {**PROCESS, "MB": 104.0}}}}, "NeuronLambda: MB of the largest: 100 at"),
        ({"functions": {"TrainerLambda": {"1": {**PROCESS, "sockets": 12}}}}, "TrainerLambda: sockets of all: 3 at"),
        ({"valkey": {"values": 1}}, "valkey: values left between two runs: 0 at first, 1 at last"),
        ({"valkey": {"clients": 7}}, "valkey: connections: 4 at first, 7 at last"),
        ({"files": {"of the caller": 1}}, "caller: temporary files: 0 at first, 1 at last"),
        ({"stored": {"dead letters": 1}}, "dead letters: 0 at first, 1 at last"),
        ({"runs": {"objects": 4}}, "neuron: [3, 4] objects"),
        ({"runs": {"items": 4}}, "neuron: 2 items in the ledger at first, 4 at last"),
        ({"runs": {"keys": 1}}, "neuron: 1 keys in the cache"),
    ],
)
def test_what_grows_is_told(grown, told):
    (line,) = page.growing(figures(**grown))
    assert line.startswith(told)


def test_tables_have_first_middle_and_last_side_by_side():
    text = page.soaked(figures(valkey={"clients": 7}))
    assert "| after | 0 min | 4 min | 8 min | may grow by |" in text
    assert "| valkey: connections | 4 | 4 | 7 | 2 |" in text
    assert "| neuron | 9 | 0.5 | 0.5 | 2 | 3 | 0 |" in text
    burst = {"runs": 20, "invocations": 5_000, "seconds": 50.0, "most": 8, "refused": 1_234}
    assert "| limited by the function | 20 | 5,000 | 50.0 | 100 | 8 | 1,234 |" in page.loaded({"burst of 20": burst})
    assert page.loaded({}) == ""


def test_a_table_goes_between_its_marks_and_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.setattr(reliability, "ROOT", tmp_path)
    monkeypatch.setattr(reliability, "PAGE", tmp_path / "page.md")
    reliability.PAGE.write_text("before\n<!-- a -->\nold\n<!-- b -->\nafter\n")
    reliability.put("<!-- a -->", "<!-- b -->", "new")
    assert reliability.PAGE.read_text() == "before\n<!-- a -->\nnew\n<!-- b -->\nafter\n"
    with pytest.raises(AssertionError, match="must have <!-- c --> and <!-- b --> once"):
        reliability.put("<!-- c -->", "<!-- b -->", "new")


@pytest.mark.parametrize("mark", [*page.LOAD_MARKS, *page.SOAK_MARKS])
def test_the_page_has_its_marks(mark):
    assert reliability.PAGE.read_text().count(mark) == 1
