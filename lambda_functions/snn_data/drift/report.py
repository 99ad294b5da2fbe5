"""The comparison: one rule, its figures, and what it found in sentences."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

import numpy as np

from snn.errors import InvalidInput
from snn_data.dataset import Dataset
from snn_data.drift import chance
from snn_data.drift.bins import OTHER, Numbers, Values, distance
from snn_data.drift.chance import Counts
from snn_data.drift.features import Kind
from snn_data.drift.looks import ABOUT, CLIPPED
from snn_data.drift.reference import Feature, Reference, Seen
from snn_data.drift.schema import Schema
from snn_data.drift.summary import Summary

ALPHA = 0.001
"""How often all tests of a comparison together find drift where there is none, at most."""

MIN_STABILITY, MIN_DISTANCE = 0.1, 0.1
"""What is too small to matter, however certain: below both of them nothing has changed that a model would feel.

0.1 is where the population stability index is held to say anything; a distance of 0.1 is a mean that moved by a quarter
of the spread, or one sample in ten in another class.
"""

FEW = 30  # samples, below which a comparison says that there are few


class Test(TypedDict):
    """One test: of numbers Kolmogorov-Smirnov's, of categories and of counted requests chi-square and Fisher's.

    `adjusted` is the p-value after Holm's correction. `distance` is the Kolmogorov-Smirnov distance of numbers, the
    total variation of categories; `psi` the population stability index. `detectable` is the smallest distance that
    would have been certain enough with so many samples.
    """

    name: str
    kind: Kind
    test: Literal["KS", "chi-square and Fisher"]
    p_value: float
    adjusted: float
    distance: float
    psi: float
    reference: int
    new: int
    detectable: float
    drifted: bool


class Finding(TypedDict):
    """What has changed, in a sentence. An error is one of what the data are: no test is needed for that."""

    level: Literal["error", "warning"]
    name: str
    kind: Kind | Literal["schema"]
    text: str
    p_value: NotRequired[float]
    distance: NotRequired[float]
    psi: NotRequired[float]


class DriftReport(TypedDict):
    """Whether data have changed, all tests and findings, what weighs most first; notes say what was not compared.

    `reference` and `new` are how many samples there are, at most, of a feature.
    """

    drifted: bool
    alpha: float
    reference: int
    new: int
    tests: list[Test]
    findings: list[Finding]
    notes: list[str]


def compare(reference: Reference, new: Dataset | Summary | Seen, alpha: float = ALPHA) -> DriftReport:
    """Compare a data set, or what an endpoint was asked, with the reference.

    Drift is a p-value of at most `alpha` after Holm's correction over all tests, and besides a population stability
    index of `MIN_STABILITY` or a distance of `MIN_DISTANCE`; or another schema. Raises InvalidInput for an `alpha` that
    is no probability, and if there is nothing new.
    """
    if not 0 < alpha < 1:
        raise InvalidInput(f"is {alpha}", field="alpha", hint="give a probability such as 0.001")
    seen = new if isinstance(new, Seen) else new.seen if isinstance(new, Summary) else reference.count(new)
    pairs = [(feature, counts) for feature, counts in zip(reference.features, seen.counts, strict=True)
             if counts is not None and counts.any()]  # fmt: skip
    if not pairs and seen.schema is None:
        raise InvalidInput("nothing was counted", field="new", hint="wait for requests")
    tests = [_test(feature, counts, seen.coarse) for feature, counts in pairs]
    for test, adjusted in zip(tests, chance.holm([test["p_value"] for test in tests]), strict=True):
        test["adjusted"] = adjusted
        test["detectable"] = chance.smallest_distance(alpha / len(tests), test["reference"], test["new"])
        matters = test["psi"] >= MIN_STABILITY or test["distance"] >= MIN_DISTANCE
        test["drifted"] = adjusted <= alpha and matters
    shifts = {id(test): _shift(feature, counts) for test, (feature, counts) in zip(tests, pairs, strict=True)}
    told = {id(test): _sentence(test, *pair, seen.coarse) for test, pair in zip(tests, pairs, strict=True)}
    # By how much of the data is elsewhere; where that is nearly all, by how far. No feature moves farther than the mix
    # of classes that moves it.
    # What is clipped is a consequence of brightness or contrast.
    tests.sort(
        key=lambda test: (
            -test["drifted"], test["name"] == CLIPPED, -round(test["distance"], 2), -shifts[id(test)], test["name"],
        )
    )  # fmt: skip
    findings = schema_findings(reference.schema, seen.schema) if seen.schema else []
    findings += [_finding(test, told[id(test)]) for test in tests if test["drifted"]]
    sizes = [max((test[side] for test in tests), default=0) for side in ("reference", "new")]
    notes = _notes(reference, seen, sizes)
    return {
        "drifted": bool(findings), "alpha": alpha, "reference": sizes[0], "new": sizes[1], "tests": tests,
        "findings": findings, "notes": notes,
    }  # fmt: skip


def _test(feature: Feature, counts: Counts, coarse: bool) -> Test:
    bins, known = feature.bins, feature.bins.counts
    if isinstance(bins, Numbers):
        few = bins.coarsened(known), counts if coarse else bins.coarsened(counts)
        found = distance(*few) if coarse else distance(known, counts)
        p_value = chance.cells(*few) if coarse else chance.kolmogorov(found, int(known.sum()), int(counts.sum()))
    else:
        few = known, counts
        p_value, found = chance.cells(*few), chance.variation(*few)
    used = (few[0] + few[1]) > 0
    return {
        "name": feature.name, "kind": feature.kind,
        "test": "KS" if isinstance(bins, Numbers) and not coarse else "chi-square and Fisher",
        "p_value": p_value, "adjusted": 1.0, "distance": found, "psi": chance.stability(few[0][used], few[1][used]),
        "reference": int(known.sum()), "new": int(counts.sum()), "detectable": 1.0, "drifted": False,
    }  # fmt: skip


def schema_findings(before: Schema, now: Schema) -> list[Finding]:
    """Return what new data are that the training data were not, or the other way round: shape, classes, columns."""
    return [{"level": "error", "name": one.name, "kind": "schema", "text": one.text} for one in before.differences(now)]


def _finding(test: Test, text: str) -> Finding:
    return {
        "level": "warning", "name": test["name"], "kind": test["kind"], "text": text, "p_value": test["p_value"],
        "distance": test["distance"], "psi": test["psi"],
    }  # fmt: skip


def _sentence(test: Test, feature: Feature, counts: Counts, coarse: bool) -> str:
    """Return what has changed, how certain that is, and in how many samples it was seen."""
    bins, known = feature.bins, feature.bins.counts
    measure = "distance" if isinstance(bins, Numbers) else "variation"
    figures = (
        f"{measure} {test['distance']:.2f}, PSI {test['psi']:.2f}, p = {test['p_value']:.1g}; "
        f"{test['reference']:,} samples of the training data, {test['new']:,} new"
    )
    if isinstance(bins, Values):
        return f"{_of_values(feature, bins, counts)} ({figures})"
    here, there = bins.middle(bins.coarsened(known) if coarse else known), bins.middle(counts)
    about = f" ({ABOUT[feature.name]})" if feature.kind == "photo" and feature.name in ABOUT else ""
    if abs(_shift(feature, counts)) < 0.1:
        return f"{feature.name}{about} is spread otherwise, about the same middle, {there:.4g} ({figures})"
    moved = "higher" if there > here else "lower"
    return f"{feature.name}{about} is {moved}: its median is about {there:.4g}, it was {here:.4g} ({figures})"


def _of_values(feature: Feature, bins: Values, counts: Counts) -> str:
    shares, before = counts / counts.sum(), bins.counts / bins.counts.sum()
    if feature.kind == "missing":
        return f"{feature.name.removesuffix(': missing')} is missing in {shares[1]:.1%}, it was in {before[1]:.1%}"
    expected = (counts + bins.counts) * counts.sum() / (counts.sum() + bins.counts.sum())
    most = int(np.argmax((counts - expected) ** 2 / np.maximum(expected, 1e-9)))  # what speaks loudest in chi-square
    name = bins.name(most)
    if name != OTHER or bins.counts[-1]:
        said = f"{name} is {shares[most]:.1%}, it was {before[most]:.1%}"
    else:
        said = f"values that were not there before are {shares[most]:.1%}"
    return f"{feature.name}: {said}" if feature.kind == "category" else f"the mix of classes is another: {said}"


def _shift(feature: Feature, counts: Counts) -> float:
    """Return how far the middle of numbers has moved, in spreads (quartile to quartile) of the reference."""
    bins = feature.bins
    if not isinstance(bins, Numbers):
        return 0.0
    known = bins.counts if counts.size == bins.counts.size else bins.coarsened(bins.counts)
    cuts = bins.cuts if counts.size == bins.counts.size else bins.cuts[bins.coarse]
    shares = np.cumsum(known)[:-1] / known.sum()
    low, high = (cuts[np.abs(shares - quarter).argmin()] for quarter in (0.25, 0.75))
    spread = float(high - low) or float(cuts[-1] - cuts[0]) or 1.0
    return abs(bins.middle(counts) - bins.middle(known)) / spread


def _notes(reference: Reference, seen: Seen, sizes: list[int]) -> list[str]:
    notes = list[str]()
    for size, whose in zip(sizes, ("training data", "new data"), strict=True):
        if size < FEW:
            notes.append(f"the {whose} have {size} samples that say something each: only a large change can be found")
    if seen.schema is not None and not reference.schema.comparable(seen.schema):
        notes.append("nothing but the labels was compared, since samples are of another kind")
    return notes
