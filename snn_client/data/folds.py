"""Parts of the training set held out to compare networks by, so that the test set stays unseen until the last."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from snn import validation as validating
from snn.batches import Samples
from snn.errors import InvalidInput
from snn_data.dataset import Dataset

Places = NDArray[np.intp]


def number_of_parts(validation: float) -> int:
    """Return 1 for a share of the samples (0.2: a fifth), the number itself for a number of folds (5).

    Raises InvalidInput, of the field `validation`, for anything else.
    """
    if isinstance(validation, (int, float)):
        if 0 < validation < 1:
            return 1
        if validation >= 2 and float(validation).is_integer():
            return int(validation)
    raise InvalidInput(
        f"{validation!r} is not a valid validation",
        field="validation",
        hint="give a share between 0 and 1, or a number of folds, 2 or more",
    )


def held_out(samples: Samples, validation: float, seed: int, classes: int) -> list[Places]:
    """Return the places, in a training set, of the samples in each part that is held out in turn.

    Of a share there is one part; folds make up the whole training set. Samples are shuffled by the seed, and every part
    has each class in its share; where a number is to be given (no `classes`) they are only shuffled. Groups are not
    parted; of times a share is the latest, and a fold a stretch of time. Raises InvalidInput, of the field
    `validation`, when there are too few samples for it.
    """
    labels = samples.y if classes else np.zeros(len(samples), dtype=np.int64)
    of_class, count = np.bincount(labels, minlength=max(classes, 1)), number_of_parts(validation)
    try:
        parts = list(_parts(samples, labels, validation, seed, classes)) if of_class.min() >= max(2, count) else []
    except ValueError:  # a part smaller than the number of classes, or more folds than groups
        parts = []
    held_of_class = np.array([np.bincount(labels[part], minlength=max(classes, 1)) for part in parts])
    if not parts or not ((held_of_class > 0) & (held_of_class < of_class)).all():
        of_what = f" of the {classes} classes" if classes else ""
        counted = ", ".join(f"{number:,}" for number in of_class[:20]) + (" …" if len(of_class) > 20 else "")
        raise InvalidInput(
            f"{validation:g} cannot be held out of {counted} samples{of_what}",
            field="validation",
            hint="every class must be both in the held-out part and in the rest"
            + ("" if samples.groups is None else ", and what belongs together stays together"),
        )
    return parts


def _parts(samples: Samples, labels: NDArray[np.int64], validation: float, seed: int, classes: int) -> Iterator[Places]:
    # Here, not above, as it takes over a second.
    from sklearn.model_selection import (
        KFold,
        ShuffleSplit,
        StratifiedGroupKFold,
        StratifiedKFold,
        StratifiedShuffleSplit,
    )

    count, groups = number_of_parts(validation), samples.groups
    # A stream of its own, as all draws have (`snn.batches`); and scikit-learn's own seeds end at 2**32.
    random = np.random.RandomState(np.random.MT19937([seed, 2]))
    if groups is not None and count == 1:
        yield np.flatnonzero(validating.held_out(samples.y, groups, validation, seed, classes))
    elif groups is not None and groups.in_time:
        _, time_of, at_once = np.unique(groups.numbers, return_inverse=True, return_counts=True)
        earlier = np.cumsum(at_once) - at_once
        stretch = earlier[time_of] * count // len(samples)
        yield from (np.flatnonzero(stretch == fold) for fold in range(count))
    elif groups is not None:
        by_group = StratifiedGroupKFold(count, shuffle=True, random_state=random)
        yield from (held for _, held in by_group.split(labels, labels, groups.numbers))
    else:
        folds, share = (StratifiedKFold, StratifiedShuffleSplit) if classes else (KFold, ShuffleSplit)
        splitter = (
            folds(count, shuffle=True, random_state=random)
            if count > 1
            else share(1, test_size=validation, random_state=random)
        )
        yield from (held for _, held in splitter.split(labels, labels))


def hold_out(dataset: Dataset, part: Places) -> Dataset:
    """Return the data set whose test and validation set is this part of the training set; it trains on the rest.

    The test set of the data set that is given is not in it.
    """
    held = np.zeros(len(dataset.train), dtype=bool)
    held[part] = True
    apart = dataset.train.part(np.flatnonzero(held))
    rest = dataset.train.part(np.flatnonzero(~held))
    return Dataset(rest, apart, dataset.classes, apart, dataset.photos, dataset.columns, backbone=dataset.backbone)
