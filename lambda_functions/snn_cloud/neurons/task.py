"""What one NeuronLambda invocation does: some neurons of one layer, forward or backward, for one mini-batch.

A pure function of the arrays it is pointed to. It keeps no state, calls nobody and signals nobody, so an invocation
that is repeated, late or delivered twice writes the same bytes to the same place. (itsacat's neurons told the trainer
"layer done" by being the highest-numbered one; the others might still have been running.)
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from snn.activations import ACTIVATIONS, Array
from snn.batches import as_inputs
from snn.errors import InvalidInput
from snn.layers import Dense, dropout_mask, gradients, slope_below
from snn.scaling import Scaling
from snn_cloud.aws.saying import say_traceback
from snn_cloud.neurons.cache import Cache, Ref

EMPTY_BYTES = 90_000_000  # of a function that has imported what it needs; measured
FETCHING = 3  # redis-py needs about 3 times an array's size while reading it; measured
# Samples never change, so a warm environment fetches them once per run, as they are stored, and not once per neuron.
# And it keeps the mini-batches that it converted last, for a layer's other neurons.
_kept: OrderedDict[str, NDArray[Any]] = OrderedDict()


def free_bytes(memory_mb: int) -> int:
    """Return what a function of this size has to itself."""
    return max(0, memory_mb * 2**20 - EMPTY_BYTES)


def keep_bytes(memory_mb: int) -> int:
    """Return how much of the samples a function keeps while it is warm: a third, for to fetch that takes all of it."""
    return free_bytes(memory_mb) // FETCHING


MEMORY_MB = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0"))


class Dropout(TypedDict):
    """What a layer leaves out: its share, which draw that is, and of how many neurons in all."""

    rate: float
    draw: list[int]
    neurons: int


class Task(TypedDict):
    """What the trainer sends. `inputs` are references (see `Ref`), sliced to what these neurons need.

    The first layer reads `samples`, as they are stored, and of these the `places` that are the mini-batch; or, if there
    are none, all of them. It learns from these numbers less the mean of `scaling`, divided by its scale. `dropout`
    is that of the neurons' own outputs, `input_dropout` that of the first layer's inputs; `dtype` is that of all
    arithmetic.
    """

    run_id: str
    layer: int
    neurons: tuple[int, int]
    direction: str
    activation: str
    dtype: str
    inputs: dict[str, list[Any]]
    output: str
    dropout: NotRequired[Dropout]
    input_dropout: NotRequired[Dropout]
    scaling: NotRequired[list[float]]


def work(task: Task, cache: Cache) -> None:
    """Compute the task and put its outputs into the cache.

    Forward: inputs W, b, and A_prev or samples; outputs A, and `kept`, if going back needs something else. Backward:
    inputs A_prev or samples, and in the last layer dZ, in all others kept, W_next (their columns of it, as rows) and
    dZ_next; outputs dZ, dW, db. Raises InvalidInput for a task of another form and CacheLost when an input is gone.
    """
    check_task(task)
    refs = {name: Ref(*ref) for name, ref in task["inputs"].items()}
    dense = Dense(0, ACTIVATIONS[task["activation"]])
    try:
        A_prev = _inputs(task, refs, cache)
        if task["direction"] == "forward":
            W, b = _fetch(cache, refs, "W", "b")
            A, kept = dense.forward(dense.sums(W, b, A_prev), _mask(task, A_prev.shape[1]))
            results = {"A": A} if kept is A else {"A": A, "kept": kept}
        else:
            if "dZ" in refs:
                (dZ,) = _fetch(cache, refs, "dZ")
            else:
                kept, W_next, dZ_next = _fetch(cache, refs, "kept", "W_next", "dZ_next")
                dZ = dense.error(slope_below(W_next.T, dZ_next), kept, _mask(task, A_prev.shape[1]))
            dW, db = gradients(dZ, A_prev)
            results = {"dZ": dZ, "dW": dW, "db": db}
    except (ValueError, IndexError, MemoryError) as error:  # NumPy's: had a trainer of ours sent them, the log helps
        say_traceback(f"{task['run_id']}: error")
        hint = "name arrays of one layer and mini-batch"
        raise InvalidInput(f"do not fit: {error}", field="inputs", source="NeuronLambda", hint=hint) from None
    cache.put({f"{task['output']}:{name}": array for name, array in results.items()})


def _mask(task: Task, samples: int) -> Array | None:
    """Return these neurons' rows of what their layer leaves out."""
    if "dropout" not in task:
        return None
    out = task["dropout"]
    mask = dropout_mask(out["rate"], out["draw"], (out["neurons"], samples), task["dtype"])
    return mask if mask is None else mask[slice(*task["neurons"])]


def _inputs(task: Task, refs: Mapping[str, Ref], cache: Cache) -> Array:
    """Return what the layer reads, (inputs, samples)."""
    if "samples" not in refs:
        (A_prev,) = _fetch(cache, refs, "A_prev")
        return A_prev
    ref = refs["samples"]
    scaling = Scaling(*task["scaling"]) if "scaling" in task else None

    def convert() -> Array:
        rows = _keep(ref.key, ref.nbytes, lambda: cache.get([ref])[0])
        if "places" in refs:
            (places,) = _fetch(cache, refs, "places")
            rows = rows[places[0]]
        return as_inputs(rows, task["dtype"], scaling=scaling)

    samples = refs["places"].columns if "places" in refs else ref.rows
    keys = [refs[name].key for name in ("samples", "places") if name in refs]
    name = " ".join([*keys, task["dtype"], *map(str, scaling or ())])
    X = _keep(name, samples * ref.columns * np.dtype(task["dtype"]).itemsize, convert)
    if "input_dropout" in task:
        out = task["input_dropout"]
        mask = dropout_mask(out["rate"], out["draw"], (out["neurons"], X.shape[1]), task["dtype"])
        X = X if mask is None else X * mask
    return X


def _keep(name: str, nbytes: int, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """Return what is kept under a name, or make it, and keep it if there is room for so many bytes."""
    if name not in _kept:
        limit = keep_bytes(MEMORY_MB)
        _make_room(limit - nbytes)
        made = make()
        if nbytes > limit:
            return made
        _make_room(limit - nbytes)  # again: to make it may have taken another thing that is kept
        _kept[name] = made
    _kept.move_to_end(name)
    return _kept[name]


def _make_room(limit: int) -> None:
    """Let go of what was used longest ago, of all if need be, until what is kept has no more bytes than the limit."""
    while _kept and sum(array.nbytes for array in _kept.values()) > limit:
        _kept.popitem(last=False)


def _fetch(cache: Cache, refs: Mapping[str, Ref], *names: str) -> list[Array]:
    missing = [name for name in names if name not in refs]
    if missing:
        raise _refusal("inputs", f"lacks {', '.join(missing)}", f"send {', '.join(names)}")
    wanted = [refs[name] for name in names]
    _make_room(free_bytes(MEMORY_MB) - FETCHING * sum(ref.nbytes for ref in wanted))
    return cache.get(wanted)


def check_task(given: Any) -> None:
    """Raise InvalidInput, naming the field, unless it is a Task. By hand: a neuron imports as little as it can."""
    if not isinstance(given, dict):
        raise _refusal("", f"is a {type(given).__name__}, not a task", f"send an object with {', '.join(_FORM)}")
    for field, (fits, hint) in _FORM.items():
        if field not in given:
            raise _refusal(field, "is missing", hint)
        if not fits(given[field]):
            raise _refusal(field, f"is {repr(given[field])[:200]}", hint)
    for name, ref in given["inputs"].items():
        if not _is_ref(ref):
            raise _refusal(f"inputs.{name}", f"is {repr(ref)[:200]}", "send [key, rows, columns, dtype, first, last]")
    for name in ("dropout", "input_dropout"):
        if name in given and not _is_dropout(given[name]):
            raise _refusal(name, f"is {repr(given[name])[:200]}", 'send {"rate": …, "draw": […], "neurons": …}')
    if "scaling" in given and not _is_scaling(given["scaling"]):
        raise _refusal("scaling", f"is {repr(given['scaling'])[:200]}", "send [mean, scale], the scale above 0")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**40


def _is_ref(given: Any) -> bool:
    if not isinstance(given, (list, tuple)) or not 3 <= len(given) <= 6:
        return False
    ref = Ref(*given)
    return (
        isinstance(ref.key, str)
        and ref.dtype in ("<f8", "<f4", "<i8", "|u1")
        and all(_is_count(value) for value in (ref.rows, ref.columns, ref.first))
        and (ref.last is None or (_is_count(ref.last) and ref.first < ref.last <= ref.rows))
    )


def _is_dropout(given: Any) -> bool:
    return (
        isinstance(given, dict)
        and isinstance(given.get("rate"), float)
        and 0 <= given["rate"] < 1
        and isinstance(given.get("draw"), (list, tuple))
        and all(type(each) is int and each >= 0 for each in given["draw"])
        and _is_count(given.get("neurons"))
    )


def _is_scaling(given: Any) -> bool:
    return (
        isinstance(given, (list, tuple))
        and len(given) == 2
        and all(type(each) is float and math.isfinite(each) for each in given)
        and given[1] > 0
    )


_FORM: dict[str, tuple[Callable[[Any], bool], str]] = {
    "run_id": (lambda value: isinstance(value, str), "name the run"),
    "layer": (_is_count, "give a layer's number"),
    "neurons": (
        lambda value: isinstance(value, (list, tuple)) and len(value) == 2 and all(_is_count(each) for each in value),
        "give [first, last]",
    ),
    "direction": (lambda value: value in ("forward", "backward"), "choose forward or backward"),
    "activation": (
        lambda value: isinstance(value, str) and value in ACTIVATIONS,
        f"choose one of {', '.join(ACTIVATIONS)}",
    ),
    "dtype": (lambda value: value in ("float32", "float64"), "choose float32 or float64"),
    "inputs": (lambda value: isinstance(value, dict), "send an object of references"),
    "output": (lambda value: isinstance(value, str), "give a key"),
}


def _refusal(field: str, problem: str, hint: str) -> InvalidInput:
    return InvalidInput(problem, field=field, source="NeuronLambda", hint=hint)
