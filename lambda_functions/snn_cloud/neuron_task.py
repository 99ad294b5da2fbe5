"""What one NeuronLambda invocation does: some neurons of one layer, forward or backward, for one mini-batch.

A pure function of the arrays it is pointed to. It keeps no state, calls nobody and signals nobody, so an invocation
that is repeated, late or delivered twice writes the same bytes to the same place. (itsacat's neurons told the trainer
"layer done" by being the highest-numbered one; the others might still have been running.)
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from snn.errors import InvalidInput
from snn.layers import Array, forward, gradients, hidden_error, output_error
from snn_cloud.cache import Cache, Ref
from snn_cloud.saying import say_traceback

EMPTY_BYTES = 90_000_000  # of a function that has imported what it needs; measured
FREE_BYTES = max(0, int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0")) * 2**20 - EMPTY_BYTES)
# The photos of a mini-batch never change, so a warm environment fetches them once per run and not once per neuron. It
# keeps those used last, in a third of its memory: the rest is for the task, of which fetching takes the most.
KEEP_BYTES = FREE_BYTES // 3
FETCHING = 3  # times their size is what arrays take while redis-py reads them; measured
_kept: OrderedDict[str, Array] = OrderedDict()


class Task(TypedDict):
    """What the trainer sends. `inputs` are references (see `Ref`), sliced to what these neurons need."""

    run_id: str
    layer: int
    neurons: tuple[int, int]
    direction: str
    activation: str
    inputs: dict[str, list[Any]]
    output: str


def work(task: Task, cache: Cache) -> None:
    """Compute the task and put its outputs into the cache.

    Forward: inputs W, b, A_prev; output A. Backward: inputs A, A_prev and, in the last layer, Y, in all others W_next
    (their columns of it, as rows) and dZ_next; outputs dZ, dW, db. Raises InvalidInput for a task of another form and
    CacheLost when an input is gone.
    """
    check_task(task)
    refs = {name: Ref(*ref) for name, ref in task["inputs"].items()}
    activation = task["activation"]
    try:
        if task["direction"] == "forward":
            arrays = _fetch(cache, refs, ("W", "b", "A_prev"))
            results = {"A": forward(arrays["W"], arrays["b"], arrays["A_prev"], activation)}
        elif "Y" in refs:
            arrays = _fetch(cache, refs, ("A", "A_prev", "Y"))
            results = _slopes(output_error(arrays["A"], arrays["Y"]), arrays["A_prev"])
        else:
            arrays = _fetch(cache, refs, ("A", "A_prev", "W_next", "dZ_next"))
            dZ = hidden_error(arrays["W_next"].T, arrays["dZ_next"], arrays["A"], activation)
            results = _slopes(dZ, arrays["A_prev"])
    except ValueError as error:  # NumPy's, of shapes: if a trainer of ours sent them, the log helps to find the mistake
        say_traceback(f"{task['run_id']}: error")
        mend = "name arrays of one layer and mini-batch"
        raise InvalidInput(f"do not fit: {error}", field="inputs", source="NeuronLambda", mend=mend) from None
    cache.put({f"{task['output']}:{name}": array for name, array in results.items()})


def check_task(given: Any) -> None:
    """Raise InvalidInput, naming the field, unless it is a Task. By hand: a neuron imports as little as it can."""
    if not isinstance(given, dict):
        raise _refusal("", f"is a {type(given).__name__}, not a task", f"send an object with {', '.join(_FORM)}")
    for field, (fits, mend) in _FORM.items():
        if field not in given:
            raise _refusal(field, "is missing", mend)
        if not fits(given[field]):
            raise _refusal(field, f"is {repr(given[field])[:200]}", mend)
    for name, ref in given["inputs"].items():
        if not _is_ref(ref):
            raise _refusal(f"inputs.{name}", f"is {repr(ref)[:200]}", "send [key, rows, columns, dtype, first, last]")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**40


def _is_ref(given: Any) -> bool:
    if not isinstance(given, (list, tuple)) or not 3 <= len(given) <= 6:
        return False
    ref = Ref(*given)
    return (
        isinstance(ref.key, str)
        and ref.dtype in ("<f8", "|u1")
        and all(_is_count(value) for value in (ref.rows, ref.columns, ref.first))
        and (ref.last is None or (_is_count(ref.last) and ref.first < ref.last <= ref.rows))
    )


_FORM: dict[str, tuple[Callable[[Any], bool], str]] = {
    "run_id": (lambda value: isinstance(value, str), "name the run"),
    "layer": (_is_count, "give a layer's number"),
    "neurons": (
        lambda value: isinstance(value, (list, tuple)) and len(value) == 2 and all(_is_count(each) for each in value),
        "give [first, last]",
    ),
    "direction": (lambda value: value in ("forward", "backward"), "choose forward or backward"),
    "activation": (lambda value: value in ("relu", "sigmoid"), "choose relu or sigmoid"),
    "inputs": (lambda value: isinstance(value, dict), "send an object of references"),
    "output": (lambda value: isinstance(value, str), "give a key"),
}


def _refusal(field: str, problem: str, mend: str) -> InvalidInput:
    return InvalidInput(problem, field=field, source="NeuronLambda", mend=mend)


def _slopes(dZ: Array, A_prev: Array) -> dict[str, Array]:
    dW, db = gradients(dZ, A_prev)
    return {"dZ": dZ, "dW": dW, "db": db}


def _fetch(cache: Cache, refs: Mapping[str, Ref], names: tuple[str, ...]) -> dict[str, Array]:
    missing = [name for name in names if name not in refs]
    if missing:
        raise _refusal("inputs", f"lacks {', '.join(missing)}", f"send {', '.join(names)}")
    found = {name: _kept[refs[name].key] for name in names if refs[name].key in _kept}
    for name in found:
        _kept.move_to_end(refs[name].key)
    wanted = [name for name in names if name not in found]
    _make_room(FREE_BYTES - FETCHING * sum(refs[name].nbytes for name in wanted))
    for name, array in zip(wanted, cache.get([refs[name] for name in wanted]), strict=True):
        found[name] = _as_inputs(refs[name].key, array)
    return found


def _as_inputs(key: str, array: NDArray[Any]) -> Array:
    """Return a float64 array; photos travel as the bytes they are and become numbers in 0..1 here, as in `Batch.X`."""
    if array.dtype != np.uint8:
        return array
    size = 8 * array.size
    _make_room(KEEP_BYTES - size)
    photos = array / 255.0
    if size <= KEEP_BYTES:
        _kept[key] = photos
    return photos


def _make_room(limit: int) -> None:
    """Let go of the photos used longest ago, of all if need be, until those kept have no more bytes than the limit."""
    while _kept and sum(photos.nbytes for photos in _kept.values()) > limit:
        _kept.popitem(last=False)
