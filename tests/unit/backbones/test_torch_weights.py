"""The reader of PyTorch's first format, on files whose every byte is written here.

What `torch.save` of 2.13 writes, and what `torch.load` reads of these files, is the same: tried by hand, once.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from snn_client.backbones.torch_weights import MAGIC, PROTOCOL, InvalidWeights, read_weights

ABOUT = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
NUMBERS = np.arange(24, dtype=np.float32)


def plain(value: Any) -> bytes:
    """Return the opcodes that push a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def storage(key: str, count: int, dtype: str = "FloatStorage", kind: str = "storage", view: Any = None) -> bytes:
    fields = plain(kind) + named("torch", dtype) + plain(key) + plain("cpu") + plain(count) + plain(view)
    return b"(" + fields + b"tQ"


def tensor(numbers: bytes, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    hooks = named("collections", "OrderedDict") + b")R"
    fields = numbers + plain(offset) + plain(shape) + plain(strides) + plain(False) + hooks
    return named("torch._utils", "_rebuild_tensor_v2") + b"(" + fields + b"tR"


def state(**tensors: bytes) -> bytes:
    items = b"".join(plain(name) + each for name, each in tensors.items())
    return named("collections", "OrderedDict") + b")R(" + items + b"u"


def written(
    held: bytes, keys: Sequence[str], storages: Sequence[NDArray[Any]], magic: int = MAGIC, protocol: int = PROTOCOL,
    about: object = ABOUT,
) -> bytes:  # fmt: skip
    begin = b"".join(pickle.dumps(each, 2) for each in (magic, protocol, about))
    end = b"".join(struct.pack("<q", each.size) + each.tobytes() for each in storages)
    return begin + b"\x80\x02" + held + b"." + pickle.dumps(list(keys), 2) + end


def one(shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0, numbers: NDArray[Any] = NUMBERS) -> bytes:
    """Return a file of one tensor, `w`."""
    return written(state(w=tensor(storage("0", numbers.size), offset, shape, strides)), ["0"], [numbers])


def read(content: bytes, folder: Path) -> dict[str, NDArray[Any]]:
    file = folder / "weights.pth"
    file.write_bytes(content)
    return read_weights(file)


GOOD = written(
    state(
        plain=tensor(storage("a", 24), 0, (2, 3, 4), (12, 4, 1)),
        turned=tensor(storage("a", 24), 12, (4, 3), (1, 4)),
        spread=tensor(storage("a", 24), 5, (3,), (0,)),
        double=tensor(storage("b", 2, "DoubleStorage"), 0, (2,), (1,)),
        count=tensor(storage("c", 1, "LongStorage"), 0, (), ()),
    ),
    ["c", "a", "b"],
    [np.array([2**40], "<i8"), NUMBERS, np.array([0.1, -1e300], "<f8")],
)


def test_values_shapes_strides_and_dtypes(tmp_path: Path) -> None:
    found = read(GOOD, tmp_path)
    assert list(found) == ["plain", "turned", "spread", "double", "count"]
    assert {name: each.dtype.str for name, each in found.items()} == {
        **dict.fromkeys(("plain", "turned", "spread"), "<f4"),
        "double": "<f8",
        "count": "<i8",
    }
    np.testing.assert_array_equal(found["plain"], NUMBERS.reshape(2, 3, 4))
    np.testing.assert_array_equal(found["turned"], NUMBERS.reshape(2, 3, 4)[1].T)
    np.testing.assert_array_equal(found["spread"], [5, 5, 5])
    assert found["double"].tolist() == [0.1, -1e300]
    assert (found["count"].shape, int(found["count"])) == ((), 2**40)
    with pytest.raises(ValueError, match="read-only"):
        found["plain"][0] = 0


def test_a_file_that_ends_too_soon_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    for length in range(len(GOOD)):
        with pytest.raises(InvalidWeights) as raised:
            read(GOOD[:length], tmp_path)
        assert str(raised.value).startswith(f"{tmp_path / 'weights.pth'}: "), length
        assert "\n" not in str(raised.value)
    assert len(GOOD) > 700
    assert set(read(GOOD, tmp_path)) == {"plain", "turned", "spread", "double", "count"}


def calling(module: str, name: str, argument: str) -> bytes:
    return named(module, name) + b"(" + plain(argument) + b"tR"


PLACES: dict[str, Callable[[bytes], bytes]] = {
    "at the beginning": lambda call: b"\x80\x02" + call + b".",
    "for the weights": lambda call: written(call, [], []),
    "for one of the weights": lambda call: written(state(w=call), [], []),
    "for a storage's name": lambda call: written(
        state(w=tensor(storage("0", 24).replace(plain("0"), call), 0, (24,), (1,))), [], []
    ),
    "for the keys": lambda call: GOOD[: GOOD.index(pickle.dumps(["c", "a", "b"], 2))] + b"\x80\x02" + call + b".",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("module", "name", "code"),
    [
        ("os", "system", "touch {}"),
        ("posix", "system", "touch {}"),
        ("builtins", "eval", "open({!r}, 'w')"),
        ("builtins", "exec", "open({!r}, 'w')"),
        ("__builtin__", "eval", "open({!r}, 'w')"),  # what Python 2 called it: pickle translates names
        ("torch", "load", "{}"),
        ("collections", "namedtuple", "{}"),
    ],
)
def test_a_pickle_that_names_a_function_is_refused_and_the_function_not_called(
    tmp_path: Path, place: str, module: str, name: str, code: str
) -> None:
    marker = tmp_path / "called"
    with pytest.raises(InvalidWeights, match=rf": names {module}\.{name}, which "):
        read(PLACES[place](calling(module, name, code.format(str(marker)))), tmp_path)
    assert not marker.exists()


def test_the_same_pickle_would_call_it(tmp_path: Path) -> None:
    """Otherwise the test before says nothing."""
    marker = tmp_path / "called"
    call = calling("builtins", "eval", f"open({str(marker)!r}, 'w').close()")
    pickle.loads(b"\x80\x02" + call + b".")
    assert marker.exists()


def test_the_oldest_opcode_that_calls_is_refused_as_well(tmp_path: Path) -> None:
    marker = tmp_path / "called"
    with pytest.raises(InvalidWeights, match=r": names os\.system, "):
        read(f"(S'touch {marker}'\nios\nsystem\n.".encode(), tmp_path)
    assert not marker.exists()


def test_a_pickle_cannot_change_what_a_number_is(tmp_path: Path) -> None:
    """BUILD hands a state to the object before it, which may be NumPy's one and only float32."""
    turn = named("torch", "FloatStorage") + plain((3, ">", None, None, None, -1, -1, 0)) + b"b"
    with pytest.raises(InvalidWeights):
        read(written(state(w=turn), [], []), tmp_path)
    assert np.dtype("<f4").str == "<f4"
    np.testing.assert_array_equal(read(one((24,), (1,)), tmp_path)["w"], NUMBERS)


@pytest.mark.parametrize(("magic", "protocol"), [(MAGIC + 1, PROTOCOL), (MAGIC, PROTOCOL + 1)])
def test_another_format_is_told_of(tmp_path: Path, magic: int, protocol: int) -> None:
    with pytest.raises(InvalidWeights, match=r": is no file of weights in PyTorch's first format"):
        read(written(state(), [], [], magic, protocol), tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"hello, world\n", b"PK\x03\x04" + bytes(100), b"\x89HDF\r\n\x1a\n", bytes(500)]
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InvalidWeights):
        read(content, tmp_path)


def test_numbers_in_the_other_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidWeights, match=r": has its bytes in the other order"):
        read(written(state(), [], [], about={**ABOUT, "little_endian": False}), tmp_path)


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((25,), (1,), 0),
        ((24,), (1,), 1),
        ((2, 3, 4), (13, 4, 1), 0),
        ((5, 5), (5, 1), 0),
        ((1,), (1,), 24),
        ((1,), (1,), -1),
        ((24,), (-1,), 23),
        ((2,), (-1,), 0),
        ((), (), 24),
        ((-1,), (1,), 0),
        ((2**62, 2), (2**62, 1), 0),
    ],
)
def test_a_view_that_reaches_outside_its_storage_is_refused(
    tmp_path: Path, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
) -> None:
    with pytest.raises(InvalidWeights, match="reaches outside its numbers"):
        read(one(shape, strides, offset), tmp_path)


def test_a_view_may_reach_to_the_last_number(tmp_path: Path) -> None:
    assert read(one((2, 12), (12, 1)), tmp_path)["w"][1, 11] == 23
    assert read(one((1,), (1,), 23), tmp_path)["w"].tolist() == [23]
    assert float(read(one((), (), 23), tmp_path)["w"]) == 23


def test_what_the_pickle_says_of_a_storage_s_length_is_not_believed(tmp_path: Path) -> None:
    with pytest.raises(InvalidWeights, match="reaches outside its numbers"):
        read(written(state(w=tensor(storage("0", 24), 0, (24,), (1,))), ["0"], [NUMBERS[:23]]), tmp_path)


@pytest.mark.parametrize("count", [-1, -24, 25, 2**40, 2**61, 2**63 - 1])
def test_a_storage_with_a_wrong_count_is_refused(tmp_path: Path, count: int) -> None:
    head = written(state(w=tensor(storage("0", 24), 0, (24,), (1,))), ["0"], [])
    with pytest.raises(InvalidWeights):
        read(head + struct.pack("<q", count) + NUMBERS.tobytes(), tmp_path)


@pytest.mark.parametrize("keys", [[], ["1"], ["0", "1"]])
def test_keys_that_are_not_those_of_the_tensors_are_refused(tmp_path: Path, keys: list[str]) -> None:
    held = state(w=tensor(storage("0", 24), 0, (24,), (1,)))
    with pytest.raises(InvalidWeights):
        read(written(held, keys, [NUMBERS] * len(keys)), tmp_path)


TENSOR = tensor(storage("0", 24), 0, (24,), (1,))


@pytest.mark.parametrize(
    "held",
    [
        plain({"w": 3}),
        plain(None),
        plain("weights"),
        b"(" + TENSOR + b"l",  # a list
        TENSOR,
        state(w=state(inner=TENSOR)),
        state(w=storage("0", 24)),
        state(w=TENSOR, epoch=plain(3)),
    ],
)
def test_what_is_no_tensor_is_refused(tmp_path: Path, held: bytes) -> None:
    with pytest.raises(InvalidWeights, match="holds something other than tensors by name"):
        read(written(held, ["0"], [NUMBERS]), tmp_path)


@pytest.mark.parametrize(
    ("numbers", "problem"),
    [
        (storage("0", 24, kind="module"), "has a 'module' that is no plain storage"),
        (storage("0", 24, view=("1", 0, 12)), "that is no plain storage"),
        (storage("0", 24, "HalfStorage"), r"names torch\.HalfStorage"),
        (plain(("storage", "FloatStorage", "0", "cpu", 24, None)) + b"Q", "cannot be read"),  # a name, not the class
        (plain("0") + b"Q", "cannot be read"),
    ],
)
def test_a_storage_of_another_kind_is_refused(tmp_path: Path, numbers: bytes, problem: str) -> None:
    with pytest.raises(InvalidWeights, match=problem):
        read(written(state(w=tensor(numbers, 0, (24,), (1,))), ["0"], [NUMBERS]), tmp_path)


def test_as_many_strides_as_sizes(tmp_path: Path) -> None:
    with pytest.raises(InvalidWeights, match="cannot be read"):
        read(one((2, 12), (12,)), tmp_path)
