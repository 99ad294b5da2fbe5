"""Which samples train a network and which test it: by class, by group, by time, or as the data say themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn.errors import InvalidDataset
from snn.validation import latest

TRAIN, TEST, VALIDATION, LEFT_OUT = 0, 1, 2, -1
Parts = NDArray[np.int8]
"""(m,): of each sample the part that it is in."""

GIVEN = {
    "train": TRAIN, "training": TRAIN, "test": TEST, "testing": TEST, "validation": VALIDATION, "valid": VALIDATION,
    "val": VALIDATION, "dev": VALIDATION,
}  # fmt: skip
"""What a column may call the parts, whatever the case."""

VALIDATED_FROM = 1_000
"""Samples to train on from which some of them are held out, to validate by."""

VALIDATION_SHARE = 0.1


def by_class(y: NDArray[np.integer] | None, rows: int, share: float, seed: int, names: Sequence[str] = ()) -> Parts:
    """Return a random split in which every class (0, 1 … of `names`) has its share, and one sample at least.

    Without classes (`y` None) only the share counts. Raises InvalidDataset, naming the class, for fewer than 2 samples.
    """
    random, parts = np.random.default_rng(seed), np.full(rows, TRAIN, np.int8)
    groups = [np.arange(rows)] if y is None else [np.flatnonzero(y == label) for label in range(len(names))]
    for label, places in enumerate(groups):
        if len(places) < 2:
            raise InvalidDataset(
                f"has {len(places)} sample" + ("" if len(places) == 1 else "s"),
                field=names[label] if y is not None else "",
                hint="at least 2 are needed, one to train and one to test",
            )
        count = min(max(round(len(places) * share), 1), len(places) - 1)
        parts[random.permutation(places)[:count]] = TEST
    return parts


def by_group(
    y: NDArray[np.integer] | None, groups: NDArray[np.integer], share: float, seed: int, names: Sequence[str] = ()
) -> Parts:
    """Return a split that parts no group, as near to the share, and to each class's share, as groups allow.

    Raises InvalidDataset when there is none with every class on both sides.
    """
    # Here, not above, as it takes over a second.
    from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold

    rows, random = len(groups), np.random.RandomState(np.random.MT19937([seed, 3]))
    parts = np.full(rows, TRAIN, np.int8)
    if len(np.unique(groups)) < 2:
        raise InvalidDataset("is the same in all rows: there is nothing to part", hint="name another column")
    if y is None:
        _, held = next(GroupShuffleSplit(1, test_size=share, random_state=random).split(groups, groups=groups))
        parts[held] = TEST
        return parts
    wanted = np.bincount(y, minlength=len(names)) * share
    folds = min(max(round(1 / share), 2), len(np.unique(groups)))
    best = np.inf
    for _, held in StratifiedGroupKFold(folds, shuffle=True, random_state=random).split(y, y, groups):
        counts = np.bincount(y[held], minlength=len(names))
        off = float(np.abs(counts - wanted).sum())
        if off < best and (counts > 0).all() and (counts < np.bincount(y, minlength=len(names))).all():
            best, parts = off, np.full(rows, TRAIN, np.int8)
            parts[held] = TEST
    if not np.isfinite(best):
        raise InvalidDataset(
            "cannot be parted so that every class is in training and test", hint="collect more groups of each class"
        )
    return parts


def by_time(times: NDArray[Any], share: float) -> Parts:
    """Return a split whose test set has the latest samples; those of one time are never parted.

    Raises InvalidDataset when all have the same time.
    """
    held = latest(times, share)
    if not held.any():
        raise InvalidDataset("is the same in all rows: there is no later one", hint="name another column")
    return np.where(held, TEST, TRAIN).astype(np.int8)


def apart(rows: int, share: float, split: Callable[[NDArray[np.intp], float], Parts]) -> Parts:
    """Return a split by group or time, made by `split` of the places it is given and a share.

    Where samples are alike within a group or a time, what validates is held apart in the same way, if there are enough.
    """
    parts = split(np.arange(rows), share)
    training = np.flatnonzero(parts == TRAIN)
    if len(training) >= VALIDATED_FROM:
        parts[training[split(training, VALIDATION_SHARE) == TEST]] = VALIDATION
    return parts


def given(values: Sequence[str | None]) -> Parts:
    """Return the split that the data name themselves. Raises InvalidDataset for another word, or a missing part."""
    known = {value: GIVEN.get((value or "").strip().lower()) for value in set(values)}
    unknown = sorted(str(value) for value, part in known.items() if part is None)
    if unknown:
        raise InvalidDataset(f"says {unknown[0]!r}", hint="say train, test or validation")
    parts = np.array([known[value] for value in values], np.int8)
    for part, name in ((TRAIN, "train"), (TEST, "test")):
        if not (parts == part).any():
            raise InvalidDataset(f"has no row that says {name}", hint="say it of some rows")
    return parts


def check_classes(parts: Parts, y: NDArray[np.integer], names: Sequence[str]) -> None:
    """Raise InvalidDataset, naming the class, if there are no samples of one to train on."""
    counts = np.bincount(y[parts == TRAIN], minlength=len(names))
    if not counts.all():
        raise InvalidDataset(
            "has no sample in the training part", field=names[int(np.argmin(counts))], hint="split in another way"
        )
