"""What change is found, and called by its name, in 95 of 100 draws: measured, and written into docs/drift.md.

    PYTHONPATH=tests .venv/bin/python -m drift_power

500 samples of the training data and 500 new ones a draw, α 0.001. Of a change's steps the smallest that is found is
looked for by bisection; photos are CIFAR-10's, drawn without putting back.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import drift_data
import numpy as np

from snn_data.columns import Columns
from snn_data.drift.features import Measured, of_labels
from snn_data.drift.looks import looks, names
from snn_data.drift.reference import Feature, Reference, Seen
from snn_data.drift.report import DriftReport, compare
from snn_data.drift.schema import Schema
from snn_data.drift.summary import Summary

DRIFT_PAGE = Path(__file__).parents[1] / "docs" / "drift.md"
BEGIN, END = "<!-- table of power: python -m drift_power writes it -->", "<!-- end of the table of power -->"
DRAWS, SIZE, WANTED = 100, 500, 95

Draw = Callable[[int, float], DriftReport]


@dataclass(frozen=True)
class Change:
    """A change: what is drawn of which size, in what words, and what its first finding must name."""

    what: str
    draw: Draw
    steps: tuple[float, ...]
    unit: str
    named: str


@cache
def looked(change: str, by: float) -> Any:
    """The looks of all 10,000 photos, changed so."""
    pixels, _, _ = drift_data.photos("cifar10")
    changed = drift_data.CHANGES[change](pixels, by, np.random.default_rng(1)) if change else pixels
    return looks(changed)


def of_photos(change: str, seed: int, by: float) -> DriftReport:
    """Compare 500 photos with 500 changed ones, by looks that were measured once and by labels."""
    pixels, y, classes = drift_data.photos("cifar10")
    order = np.random.default_rng([1, seed]).permutation(len(pixels))
    return compared(order[:SIZE], order[SIZE : 2 * SIZE], looked("", 0), looked(change, by), y, classes)


def of_classes(seed: int, by: float) -> DriftReport:
    """Compare 500 photos with 500 others, of which a share was replaced by photos of airplanes."""
    pixels, y, classes = drift_data.photos("cifar10")
    order = np.random.default_rng([2, seed]).permutation(len(pixels))
    first, rest = order[:SIZE], order[SIZE:]
    many = round(by * SIZE)
    planes, others = rest[y[rest] == 0][:many], rest[many:][: SIZE - many]
    return compared(first, np.concatenate([planes, others]), looked("", 0), looked("", 0), y, classes)


def compared(first: Any, second: Any, before: Any, after: Any, y: Any, classes: tuple[str, ...]) -> DriftReport:
    def measured(places: Any, numbers: Any) -> list[Measured]:
        found = zip(names((32, 32, 3)), numbers[places].T)
        return [of_labels(y[places], classes), *(Measured(name, "photo", column) for name, column in found)]

    features = tuple(Feature(one.name, one.kind, one.binned(400, 60)) for one in measured(first, before))
    reference = Reference(Schema((32, 32, 3), "uint8", classes), features)
    return compare(reference, Seen(tuple(one.counted(to.bins) for one, to in zip(measured(second, after), features))))


def of_table(change: str, seed: int, by: float) -> DriftReport:
    chance = np.random.default_rng([3, seed])
    known = drift_data.table_dataset(chance, SIZE)
    by = by + 0.1 if change == "missing" else by  # a tenth is missing as it is
    return compare(Reference.of(known), drift_data.table_dataset(chance, SIZE, **{change: by}))


def of_requests(seed: int, by: float) -> DriftReport:
    chance = np.random.default_rng([4, seed])
    known = drift_data.table_dataset(chance, SIZE)
    columns, summary = Columns.from_json(known.columns, "the model"), Summary(Reference.of(known))
    raw = drift_data.table(chance, SIZE, age=by)
    rows = [
        [None if value != value else value for value in row] for row in zip(*(each.tolist() for each in raw.values()))
    ]
    summary.add_rows(columns.encode_rows(rows, "requests"), columns)
    return compare(summary.reference, summary)


def of_features(seed: int, by: float) -> DriftReport:
    chance = np.random.default_rng([5, seed])
    known = drift_data.dataset(drift_data.features(chance, SIZE))
    return compare(Reference.of(known), drift_data.dataset(drift_data.features(chance, SIZE, shift=by)))


LEVELS = tuple(float(level) for level in range(4, 61, 2))
TENTHS = tuple(round(0.1 * step, 1) for step in range(1, 21))
SHARES = tuple(round(0.01 * step, 2) for step in range(1, 41))
LESS = tuple(round(1 - 0.05 * step, 2) for step in range(1, 18))
SIGMAS = tuple(round(0.3 + 0.05 * step, 2) for step in range(20))
HALVES = tuple(round(0.5 * step, 1) for step in range(1, 30))
GREY, SPREAD, ROWS = "{:g} grey levels", "{:g} standard deviations", "{:.0%} of the rows"
CHANGES = {
    change.what: change
    for change in (
        Change("brighter photos", partial(of_photos, "brightness"), LEVELS, GREY, "brightness"),
        Change("blur (Gaussian)", partial(of_photos, "blur"), SIGMAS, "σ = {:g} pixels", "sharpness"),
        Change("noise (Gaussian)", partial(of_photos, "noise"), HALVES, "σ = {:g} grey levels", "noise"),
        Change("less contrast", partial(of_photos, "contrast"), LESS, "× {:g}", "contrast"),
        Change("paler colours", partial(of_photos, "saturation"), LESS, "× {:g}", "saturation"),
        Change("more red, less blue", partial(of_photos, "red"), tuple(map(float, range(1, 31))), GREY, "red"),
        Change("another mix of ten classes", of_classes, SHARES, "{:.0%} of the samples", "labels"),
        Change("a column of a table, moved", partial(of_table, "age"), TENTHS, SPREAD, "age"),
        Change("the same column, counted at the endpoint", of_requests, TENTHS, SPREAD, "age"),
        Change("a value of a category that appears", partial(of_table, "new_value"), SHARES, ROWS, "colour"),
        Change("values that are missing, beside 10 %", partial(of_table, "missing"), SHARES, f"{ROWS} more",
               "income: missing"),
        Change("features, along one of 20 directions", of_features, TENTHS, SPREAD, ""),
    )
}  # fmt: skip


def found(change: Change, by: float) -> int:
    """Return in how many of the draws it is found, and its first finding names it; "" is any finding."""
    count = 0
    for seed in range(DRAWS):
        findings = change.draw(seed, by)["findings"]
        count += bool(findings) and change.named in ("", findings[0]["name"])
    return count


def row(what: str) -> str:
    """Return a change's row: the smallest that is found, in how many draws, and in how many the step before it."""
    change = CHANGES[what]
    counted = cache(partial(found, change))
    place = bisect_left(change.steps, True, key=lambda by: counted(by) >= WANTED)
    assert place < len(change.steps), f"{what}: not found at all"
    by = change.steps[place]
    less = f"{change.unit.format(change.steps[place - 1])}: {counted(change.steps[place - 1])}" if place else ""
    return f"| {what} | {change.unit.format(by)} | {counted(by)} | {less} |"


def table() -> str:
    head = "| change | smallest that is found | of 100 draws | a step less |\n|---|---|---:|---|"
    return "\n".join([head, *(row(what) for what in CHANGES)])


def main() -> None:
    """Put the table between its two marks."""
    text = DRIFT_PAGE.read_text()
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    DRIFT_PAGE.write_text(f"{text[:begin]}\n{table()}\n{text[end:]}")
    sys.stdout.write(f"wrote {DRIFT_PAGE.name}\n")


if __name__ == "__main__":
    main()
