"""A warm trainer holds one data set: the check of memory admitted each alone."""

from __future__ import annotations

import gc
import weakref

from small import photos

from snn_cloud.aws import places
from snn_cloud.train.job import Kept


def test_the_former_data_set_is_gone_before_the_next_is_read() -> None:
    kept, files = Kept(), {name: photos(seed=number) for number, name in enumerate(("one", "other"))}
    held = weakref.ref(kept.load(("one.h5", "v1"), lambda: files["one"]))
    assert held() is not None

    def read() -> bytes:
        gc.collect()
        assert held() is None
        return files["other"]

    other = kept.load(("other.h5", "v1"), read)
    assert kept.load(("other.h5", "v1"), lambda: files["other"]) is other


def test_a_file_that_was_replaced_is_read_anew() -> None:
    """A bucket without versions: the same key and no version, other contents."""
    kept = Kept()
    first = kept.load(("data.h5", ""), lambda: photos(seed=0))
    second = kept.load(("data.h5", ""), lambda: photos(seed=1))
    assert (first.dataset.train.stored != second.dataset.train.stored).any()


def test_the_same_contents_under_another_key_are_kept() -> None:
    kept, digest = Kept(), "a" * 64
    one = kept.load((places.input_dataset("a", digest), ""), photos)
    assert kept.load((places.input_dataset("b", digest), ""), photos) is one
