"""What the microscope tells, typed."""

from __future__ import annotations

from typing import TypedDict


class Layer(TypedDict):
    """A layer: its neurons, what they compute, and how many inputs each has."""

    neurons: int
    activation: str
    inputs: int


class About(TypedDict):
    """What there is to look at in a run.

    `kept` are the epochs, by how many are done, whose state was kept; `last` is the last that can be
    looked at, those between are computed again: with the run's own bits if that is `exact`. `model_epoch` is the
    one that the run's model is of (None: not known, or no model yet). `shape` is that of a photo, or nothing; `names`
    are the inputs'. `looked` training samples are looked at, of `samples`; `parts` counts those of each set. `scale` is
    the greatest weight of each layer in all kept epochs, for one scale of colours.
    """

    kept: list[int]
    last: int
    model_epoch: int | None
    layers: list[Layer]
    shape: list[int]
    names: list[str]
    classes: list[str]
    backbone: str
    threshold: float
    samples: int
    looked: int
    parts: dict[str, int]
    exact: bool
    goes_on: bool


class Neuron(TypedDict):
    """A neuron of a network: on how many of the samples it fires, and how it is.

    `norm` is ‖W‖, `slope` ‖∂cost/∂W‖, `ratio` ‖ΔW‖/‖W‖ of the next epoch, None where there is none; `mean` is that of
    its activations.
    """

    fires: int
    dead: bool
    saturated: bool
    mean: float
    norm: float
    slope: float
    ratio: float | None
    bias: float


class Connection(TypedDict):
    """A weight between a neuron of a layer and one of the next."""

    layer: int
    source: int
    target: int
    weight: float


class Mistake(TypedDict):
    """A sample that the network gets wrong, with the probability of what it says instead."""

    place: int
    truth: str
    predicted: str
    probability: float


class NetworkSeen(TypedDict):
    """A network after an epoch. `accuracy` is that on the samples looked at, of classes; `mistakes` are the test set's.

    `scale` is the greatest weight of each layer, for the colours.
    """

    epoch: int
    recomputed: bool
    cost: float
    accuracy: float | None
    test_accuracy: float | None
    samples: int
    layers: list[list[Neuron]]
    connections: list[Connection]
    mistakes: list[Mistake]
    mistakes_count: int
    scale: list[float]


class WaveSeen(TypedDict):
    """A layer in one direction for one mini-batch; times are seconds since the epoch began."""

    step: int
    batch: int
    layer: int
    direction: str
    sent: float
    answered: float
    invocations: int
    slowest: str
    alone: float


class InvocationsSeen(TypedDict):
    """The neurons that an epoch invoked: `rows` of `columns`, those of `Invocation`; `why` there are none."""

    epoch: int
    recorded: bool
    why: str
    started_at: float
    summary: dict[str, float]
    path: list[WaveSeen]
    columns: list[str]
    rows: list[list[int | float | str]]


class InvocationLine(TypedDict):
    """A line that an invocation printed; `at` is in milliseconds since 1970."""

    at: int
    text: str


class Bars(TypedDict):
    """Neurons' weights as rows of at most some dozen bars: each the strongest of `inputs` neighbours."""

    inputs: int
    rows: list[list[float]]


class FormulaTerm(TypedDict):
    """A summand of a neuron's sum."""

    name: str
    weight: float
    input: float
    product: float


class Formula(TypedDict):
    """z = Σ w·x + b with a neuron's own numbers for one sample, and a = f(z)."""

    part: str
    place: int
    terms: list[FormulaTerm]
    others: int
    rest: float
    bias: float
    z: float
    a: float
    activation: str


class Link(TypedDict):
    """A neuron, or an input, that a neuron is connected to."""

    layer: int
    neuron: int
    name: str
    weight: float


class Excites(TypedDict):
    """Of a class, the samples that excite a neuron most and least, each with its activation."""

    class_name: str
    most: list[tuple[int, float]]
    least: list[tuple[int, float]]


class NeuronSeen(Neuron):
    """One neuron, closely.

    `learned` is how far its weights have come from the first ones; `learned_scale` is 0 if those were not kept. Lists
    of weights are empty where there are too many: then there are pictures.
    """

    epoch: int
    layer: int
    neuron: int
    recomputed: bool
    samples: int
    activation: str
    edges: list[float]
    counts: list[int]
    excites: list[Excites]
    classes_left_out: int
    formula: Formula
    below: list[Link]
    above: list[Link]
    weights: list[float]
    slopes: list[float]
    learned: list[float]
    scale: float
    slope_scale: float
    learned_scale: float
