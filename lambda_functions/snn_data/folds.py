"""Parts of the training set held out to compare networks by, so that the test set stays unseen until the last."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snn.dataset import Array, Dataset
from snn.errors import InvalidInput

Places = NDArray[np.intp]


def number_of_parts(validation: float) -> int:
    """Return 1 for a share of the photos (0.2: a fifth), the number itself for a number of folds (5).

    Raises InvalidInput, of the field `validation`, for anything else.
    """
    if isinstance(validation, (int, float)):
        if 0 < validation < 1:
            return 1
        if validation >= 2 and float(validation).is_integer():
            return int(validation)
    raise InvalidInput(
        f"{validation!r} is no way to validate",
        field="validation",
        mend="give a share between 0 and 1, or a number of folds from 2",
    )


def held_out(labels: Array, validation: float, seed: int) -> list[Places]:
    """Return the places, in a training set with these labels, of the photos in each part that is held out in turn.

    Of a share there is one part; folds make up the whole training set. Photos are shuffled by the seed, and every part
    has each class in its share. Raises InvalidInput, of the field `validation`, when there are too few photos for it.
    """
    # Here, not above, as it takes over a second.
    from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit

    count, truth = number_of_parts(validation), np.ravel(labels).astype(np.int64)
    # A stream of its own ([seed, 2]), as in `snn.dataset.batches`; and scikit-learn's own seeds end at 2**32.
    random = np.random.RandomState(np.random.MT19937([seed, 2]))
    splitter: StratifiedKFold | StratifiedShuffleSplit = (
        StratifiedKFold(count, shuffle=True, random_state=random)
        if count > 1
        else StratifiedShuffleSplit(1, test_size=validation, random_state=random)
    )
    of_class = np.bincount(truth, minlength=2)
    try:
        parts = [held for _, held in splitter.split(truth, truth)] if of_class.min() >= max(2, count) else []
    except ValueError:  # a part smaller than the number of classes
        parts = []
    held_of_class = np.array([np.bincount(truth[part], minlength=2) for part in parts])
    if not parts or not ((held_of_class > 0) & (held_of_class < of_class)).all():
        raise InvalidInput(
            f"{validation:g} cannot be held out of {of_class[0]} and {of_class[1]} photos of the two classes",
            field="validation",
            mend="both classes must be in what is held out and in what is left",
        )
    return parts


def hold_out(dataset: Dataset, part: Places) -> Dataset:
    """Return the data set whose test set is this part of the training set, and whose training set is all else of it.

    The test set of the data set that is given is not in it.
    """
    held = np.zeros(len(dataset.train_pixels), dtype=bool)
    held[part] = True
    return Dataset(
        dataset.train_pixels[~held],
        dataset.train_y[:, ~held],
        dataset.train_pixels[held],
        dataset.train_y[:, held],
        dataset.classes,
    )
