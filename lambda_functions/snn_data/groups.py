"""Samples of the training set that belong together, in a `datasets.h5`: those of one patient, or of one time.

A file may have `train_set_groups` (m,), for each training sample a whole number. Its attribute `groups_by` is "group",
or "time" if a later one has the greater number. Whoever holds samples out parts no group, and takes the latest times.
"""

from __future__ import annotations

import h5py
import numpy as np
from numpy.typing import NDArray

from snn.batches import Groups
from snn.errors import InvalidDataset
from snn_data.hdf5 import check_stored, find_array

NUMBERS, BY = "train_set_groups", "groups_by"
KINDS = {"group": False, "time": True}


def write_groups(h5: h5py.File, groups: Groups) -> None:
    """Write the group of each training sample."""
    h5.create_dataset(NUMBERS, data=groups.numbers.astype(np.int64)).attrs[BY] = "time" if groups.in_time else "group"


def read_groups(h5: h5py.File, samples: int, source: str) -> Groups | None:
    """Return the groups of a training set of so many samples, None if the file has none. Raises InvalidDataset."""
    if NUMBERS not in h5:
        return None
    item = find_array(h5, NUMBERS, source, InvalidDataset)
    if item.shape != (samples,) or item.dtype.kind not in "iu":
        hint = f"give each of the {samples:,} training samples the number of its group"
        raise InvalidDataset(f"is {item.shape} {item.dtype}", field=NUMBERS, source=source, hint=hint)
    check_stored(NUMBERS, item.nbytes, item.id.get_storage_size(), source, InvalidDataset)
    by = item.attrs.get(BY, "group")
    if not isinstance(by, str) or by not in KINDS:
        raise InvalidDataset(f"are by {str(by)[:100]!r}", field=NUMBERS, source=source, hint='say "group" or "time"')
    numbers: NDArray[np.int64] = item[()].astype(np.int64)
    return Groups(numbers, KINDS[by])
