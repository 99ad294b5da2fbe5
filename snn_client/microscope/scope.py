"""A run under the microscope: its network after any epoch, its layers, its neurons, and what samples do in it.

All of it is computed here from what the run left in S3, so a process of its own does it (`snn_client.look.worker`),
never the server that answers people.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from snn.activations import Array
from snn.batches import Samples
from snn.decision import predicted_classes
from snn.errors import InvalidInput
from snn.network import Network, Params
from snn_client.data.images import thumbnail_png
from snn_client.data.staging import photo_shape
from snn_client.microscope.contents import (
    About,
    Bars,
    Connection,
    Excites,
    Formula,
    InvocationLine,
    InvocationsSeen,
    Link,
    Mistake,
    NetworkSeen,
    Neuron,
    NeuronSeen,
    WaveSeen,
)
from snn_client.microscope.epochs import Epochs, Seen, Stop, never
from snn_client.microscope.finished import epochs_of, model_epoch
from snn_client.microscope.invocations import Wave, summary_of
from snn_client.microscope.neurons import (
    Outputs,
    Slopes,
    answering,
    conditions,
    formula,
    histogram,
    most_and_least,
    norms_of,
    outputs_of,
    slopes_of,
    update_ratio,
)
from snn_client.microscope.photo import way_of_photo
from snn_client.microscope.pictures import Pixels, image_of, png, sheet, shrunk
from snn_client.microscope.way import Way, pixel_name, way_of
from snn_client.runs.logs import lines_of_invocation
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.objects import ObjectFile
from snn_cloud.ledger.parameters import Granularity, Parameters
from snn_cloud.ledger.record import Run, Usage
from snn_data.columns import Category, Columns
from snn_data.dataset import Dataset, backbone_name
from snn_data.invocations import Invocation
from snn_data.model import Model, load_attributes

Kind = Literal["weights", "slopes", "learned"]
Part = Literal["train", "test", "validation"]

MOST_NUMBERS = 16_000_000
"""Of the samples that are looked at, and, by an eighth, of what the neurons give for them: 128 and 16 MB."""

HELD = 3  # networks
FOLLOW_SECONDS = 3.0  # between two looks for further epochs of a run that goes on
MOST_WEIGHTS = 3_000  # of a neuron that are told as numbers
MOST_LINKS, MOST_CONNECTIONS, MOST_TERMS = 12, 160, 10
MOST_MISTAKES, MOST_CLASSES, MOST_SAMPLES = 48, 12, 4
MOST_NAMES = 3_000
MOST_BARS = 64  # of a neuron's weights, side by side
SHOWN = 24  # neurons of a layer in the picture of the network
MOST_SCALED = 2_000_000  # weights of a first layer whose greatest is looked for in all kept epochs


@dataclass(frozen=True)
class Looked:
    """A network, and what it does with the samples that are looked at."""

    seen: Seen
    outputs: list[Outputs]
    slopes: Slopes
    ratios: list[list[float]] | None
    test: NDArray[np.float64]


class Scope:
    """One run under the microscope. `stop` is asked whether to give up computing an epoch again."""

    def __init__(self, clients: Clients, outputs: StackOutputs, run: Run, stop: Stop = never) -> None:
        if run.parameters is None:
            raise InvalidInput("has no parameters", source=f"run {run.run_id}", hint="look at another run")
        self._clients, self._outputs, self.run, self._parameters = clients, outputs, run, run.parameters
        self.epochs = epochs_of(clients, outputs.bucket, run)
        self._stop = stop
        self._held: OrderedDict[int, Looked] = OrderedDict()
        self._scales: list[float] = []
        self._scaled = set[int]()
        self._found_at = time.monotonic()

    def follow(self, run: Run) -> None:
        """Go on with the run as it is now: it may have kept further epochs since. What is known of the others stays."""
        before, self.run = self.run, run
        if (run.epoch, run.state) == (before.epoch, before.state) or time.monotonic() - self._found_at < FOLLOW_SECONDS:
            return
        epochs = epochs_of(self._clients, self._outputs.bucket, run)
        if isinstance(epochs, Epochs) and isinstance(self.epochs, Epochs):
            epochs.take_over(self.epochs)
        # Of the last epoch there was no next one; and there may be a model now.
        self._held.pop(self.epochs.last, None)
        for name in ("_stored", "_threshold", "_model_epoch"):
            self.__dict__.pop(name, None)
        self.epochs, self._found_at = epochs, time.monotonic()

    def about(self) -> About:
        """Return what there is to look at."""
        data, network = self._data, self._network
        inputs = [network.features, *(layer.size for layer in network.layers)]
        activations = self._parameters.activation_per_layer
        parts = {name: len(part) for name, part in self._parts.items()}
        return {
            "kept": self.epochs.kept,
            "last": self.epochs.last,
            "model_epoch": self._model_epoch,
            "layers": [
                {"neurons": layer.size, "activation": activation, "inputs": below}
                for layer, activation, below in zip(network.layers, activations, inputs, strict=False)
            ],
            "shape": list(self._shape),
            "names": self._names[:MOST_NAMES],
            "classes": list(data.classes),
            "backbone": backbone_name(data.backbone),
            "threshold": self._threshold,
            "samples": len(self._parts["train"]),
            "looked": len(self._places),
            "parts": parts,
            "exact": self.epochs.exact,
            "goes_on": not self.run.state.is_terminal,
        }

    def network(self, epoch: int) -> NetworkSeen:
        """Return the network after an epoch. Raises InvalidInput if the run did not come so far."""
        looked, data = self._look(epoch), self._data
        params, activations = looked.seen.params, self._parameters.activation_per_layer
        layers = [self._neurons(looked, layer) for layer in range(1, len(activations) + 1)]
        said = looked.outputs[-1].A
        accuracy, test_accuracy, mistakes, count = None, None, list[Mistake](), 0
        if data.classes:
            accuracy = float((predicted_classes(said, self._threshold) == self._parts["train"].y[self._places]).mean())
            guessed = predicted_classes(looked.test, self._threshold)
            wrong = np.flatnonzero(guessed != data.test.y)
            test_accuracy, count = 1 - len(wrong) / len(data.test), len(wrong)
            mistakes = [self._mistake(looked.test, guessed, int(place)) for place in wrong[:MOST_MISTAKES]]
        return {
            "epoch": epoch, "recomputed": looked.seen.recomputed, "cost": looked.slopes.cost / self._unit**2,
            "accuracy": accuracy, "test_accuracy": test_accuracy, "samples": len(self._places),
            "layers": layers, "connections": _connections(params, len(activations)),
            "mistakes": mistakes, "mistakes_count": count, "scale": self.scales(),
        }  # fmt: skip

    def neuron(self, epoch: int, layer: int, neuron: int, part: Part = "train", place: int | None = None) -> NeuronSeen:
        """Return one neuron, closely, with its formula for a sample; by default for that which excites it most."""
        looked = self._look(epoch)
        self._check_neuron(layer, neuron)
        params, data = looked.seen.params, self._data
        W = params[f"W{layer}"]
        A = looked.outputs[layer - 1].A[neuron]
        if place is None:
            part, place = "train", int(self._places[int(A.argmax())])
        edges, counts = histogram(A)
        slopes, slope_scale = self._numbers(looked, layer, "slopes")
        learned, learned_scale = self._numbers(looked, layer, "learned") if self._knows_first else (None, 0.0)
        few = W.shape[1] <= MOST_WEIGHTS
        return {
            **self._neurons(looked, layer)[neuron],
            "epoch": epoch, "layer": layer, "neuron": neuron, "recomputed": looked.seen.recomputed,
            "samples": len(A), "activation": self._parameters.activation_per_layer[layer - 1],
            "edges": edges, "counts": counts, "excites": self._excites(A),
            "classes_left_out": max(0, len(data.classes) - MOST_CLASSES),
            "formula": self._formula(looked, layer, neuron, part, place),
            "below": self._links(layer - 1, W[neuron]),
            "above": self._links(layer + 1, params[f"W{layer + 1}"][:, neuron]) if f"W{layer + 1}" in params else [],
            "weights": W[neuron].tolist() if few else [],
            "slopes": slopes[neuron].tolist() if few else [],
            "learned": learned[neuron].tolist() if few and learned is not None else [],
            "scale": self.scales()[layer - 1],
            "slope_scale": slope_scale, "learned_scale": learned_scale,
        }  # fmt: skip

    def weights_png(self, epoch: int, layer: int, first: int, count: int, size: int, kind: Kind = "weights") -> bytes:
        """Return some neurons' weights, or the cost's slopes in them, as a sheet of pictures.

        Only the first layer of a network that sees photos has such pictures. A side has at most `size` pixels.
        """
        looked = self._look(epoch)
        self._check_neuron(layer, first)
        if layer != 1 or not self._shape:
            hint = "look at its numbers"
            raise InvalidInput("has no picture", field=f"layer {layer}", source=self._source, hint=hint)
        numbers, scale = self._numbers(looked, 1, kind)
        tiles = [shrunk(image_of(row, self._shape, scale), size) for row in numbers[first : first + count]]
        return png(sheet(tiles))

    def bars(self, epoch: int, layer: int, first: int, count: int) -> Bars:
        """Return some neurons' weights as bars."""
        looked = self._look(epoch)
        self._check_neuron(layer, first)
        W = looked.seen.params[f"W{layer}"][first : first + count]
        width = -(-W.shape[1] // MOST_BARS)
        whole = np.zeros((len(W), -(-W.shape[1] // width) * width))
        whole[:, : W.shape[1]] = W
        parts = whole.reshape(len(W), -1, width)
        strongest = np.take_along_axis(parts, np.abs(parts).argmax(axis=2)[..., None], axis=2)[..., 0]
        return {"inputs": width, "rows": strongest.tolist()}

    def way(self, epoch: int, part: Part, place: int) -> Way:
        """Return the way of a sample of the data set."""
        looked, samples = self._look(epoch), self._part(part, place)
        x = samples.inputs(slice(place, place + 1), looked.seen.params["W1"].dtype)
        pixels = self._pixels(part, place)
        truth = float(samples.y[place])
        return way_of(
            self._network, looked.seen.params, x, self._data.classes, self._threshold, self._names, truth, pixels
        )

    def photo(self, epoch: int, content: bytes, name: str) -> Way:
        """Return the way of a photo that somebody hands in. Raises InvalidImage, naming it."""
        looked = self._look(epoch)
        return way_of_photo(self._clients, self._outputs, self._model(looked.seen.params), content, name, self._data)

    def picture(self, part: Part, place: int, size: int) -> bytes:
        """Return a sample of the data set as the network sees it, as PNG. Raises InvalidInput if it is no photo."""
        pixels = self._pixels(part, place)
        if pixels is None:
            hint = "its features have no picture"
            raise InvalidInput("is no photo", field=f"{part} sample {place}", source=self._source, hint=hint)
        return thumbnail_png(pixels, size)

    def invocations(self, epoch: int) -> InvocationsSeen:
        """Return the neurons that an epoch invoked, if that was recorded."""
        found = self.epochs.invocations(epoch)
        if found is None:
            return {
                "epoch": epoch, "recorded": False, "why": self._why_no_invocations(epoch), "started_at": 0.0,
                "summary": {}, "path": [], "columns": [], "rows": [],
            }  # fmt: skip
        trainer = self.run.usage.get("trainer", Usage())
        summary = summary_of(found, trainer.memory_mb, self._outputs.architecture)
        numbers = {name: value for name, value in summary._asdict().items() if name != "path"}
        return {
            "epoch": epoch, "recorded": True, "why": "", "started_at": found.started_at,
            "summary": numbers, "path": [_wave(wave) for wave in summary.path],
            "columns": list(Invocation._fields), "rows": [list(one) for one in found.invocations],
        }  # fmt: skip

    def invocation_log(self, epoch: int, request_id: str) -> dict[str, list[InvocationLine]]:
        """Return what one of an epoch's invocations printed. Raises InvalidInput if the epoch has none of this id."""
        found = self.epochs.invocations(epoch)
        one = next((one for one in found.invocations if one.request_id == request_id), None) if found else None
        if found is None or one is None or not request_id:
            hint = "take one from the table"
            raise InvalidInput(f"epoch {epoch} has no invocation {request_id!r}", source=self._source, hint=hint)
        lines = lines_of_invocation(
            self._clients.logs, self._outputs.neuron_function, request_id, one.log_stream, found.started_at + one.sent
        )
        return {"lines": [{"at": line.at, "text": line.text} for line in lines]}

    def scales(self) -> list[float]:
        """Return the greatest weight of each layer in all kept epochs; of a large network in the first and the last."""
        kept = self.epochs.kept
        layers = range(1, len(self._network.layers) + 1)
        W1 = self._network.layers[0].size * self._network.features
        large = W1 > MOST_SCALED
        wanted = ({kept[0], kept[-1]} if large else set(kept)) - self._scaled
        self._scales = self._scales or [0.0 for _ in layers]
        one_by_one = (self.epochs.look(epoch, self._stop).params for epoch in sorted(wanted))
        for params in one_by_one if large else self.epochs.all_params(wanted):
            most = [float(np.abs(params[f"W{layer}"]).max()) for layer in layers]
            self._scales = list(map(max, self._scales, most))
        self._scaled |= wanted
        return self._scales

    def _numbers(self, looked: Looked, layer: int, kind: Kind) -> tuple[Array, float]:
        """Return a layer's weights, the cost's slopes in them, or what they have learned, and the greatest of them.

        The greatest weight is that of all kept epochs, the greatest change that of the last one: colours mean the same
        in each epoch.
        """
        W = looked.seen.params[f"W{layer}"]
        if kind == "weights":
            return W, self.scales()[layer - 1]
        if kind == "slopes":
            slopes = looked.slopes.params[f"W{layer}"]
            return slopes, float(np.abs(slopes).max())
        if not self._knows_first:
            hint = "runs keep them unless keep_epochs is false"
            raise InvalidInput("its first weights were not kept", source=self._source, hint=hint)
        first = self.epochs.look(0, self._stop).params[f"W{layer}"]
        last = self.epochs.look(self.epochs.kept[-1], self._stop).params[f"W{layer}"]
        return W - first, float(np.abs(last - first).max())

    @property
    def _knows_first(self) -> bool:
        return self.epochs.kept[0] == 0

    @property
    def _source(self) -> str:
        return f"run {self.run.run_id}"

    def _look(self, epoch: int) -> Looked:
        if epoch not in self._held:
            seen = self.epochs.look(epoch, self._stop)
            network, params = self._network, seen.params
            X = self._X.astype(params["W1"].dtype, copy=False)
            after = self.epochs.next(epoch, self._stop)
            layers = range(1, len(network.layers) + 1)
            ratios = [update_ratio(params, after.params, layer) for layer in layers] if after else None
            targets = self._unscaled.targets(self._parts["train"].y[self._places])
            test = self._model(params).judge(self._data.test)
            looked = Looked(seen, outputs_of(network, params, X), slopes_of(network, params, X, targets), ratios, test)
            while len(self._held) >= HELD:
                self._held.popitem(last=False)
            self._held[epoch] = looked
        self._held.move_to_end(epoch)
        return self._held[epoch]

    def _why_no_invocations(self, epoch: int) -> str:
        granularity = self._parameters.granularity
        if granularity is Granularity.BATCH:
            return (
                "With granularity batch the trainer computes all by itself, in one invocation: there are no neurons "
                "that could wait for each other. Train with granularity neuron or layer to see them."
            )
        return (
            f"What epoch {epoch} invoked was not noted. That is done for epochs that are kept, but not for epoch 0 and "
            "not for one in which a trainer took over from another."
        )

    def _neurons(self, looked: Looked, layer: int) -> list[Neuron]:
        outputs, params = looked.outputs[layer - 1], looked.seen.params
        activation = self._parameters.activation_per_layer[layer - 1]
        last = layer == len(self._network.layers)
        norms, slopes = norms_of(params[f"W{layer}"]), norms_of(looked.slopes.params[f"W{layer}"])
        means, biases = outputs.A.mean(axis=1), params[f"b{layer}"][:, 0]
        ratios = looked.ratios[layer - 1] if looked.ratios else None
        return [
            {
                "fires": one.fires, "dead": one.dead, "saturated": one.saturated,
                "mean": float(means[number]), "norm": float(norms[number]), "slope": float(slopes[number]),
                "ratio": ratios[number] if ratios else None, "bias": float(biases[number]),
            }
            for number, one in enumerate(answering(outputs) if last else conditions(outputs, activation))
        ]  # fmt: skip

    def _excites(self, A: Array) -> list[Excites]:
        data, y = self._data, self._parts["train"].y[self._places]
        classes = list(data.classes)[:MOST_CLASSES] or ["all samples"]
        labels = y.astype(np.int64) if data.classes else np.zeros(len(y), np.int64)

        def named(found: list[int]) -> list[tuple[int, float]]:
            return [(int(self._places[place]), float(A[place])) for place in found]

        return [
            {"class_name": name, "most": named(most), "least": named(least)}
            for name, (most, least) in zip(classes, most_and_least(A, labels, len(classes), MOST_SAMPLES), strict=True)
        ]

    def _formula(self, looked: Looked, layer: int, neuron: int, part: Part, place: int) -> Formula:
        samples, params = self._part(part, place), looked.seen.params
        x = samples.inputs(slice(place, place + 1), params["W1"].dtype)
        outputs = outputs_of(self._network, params, x)
        inputs = x[:, 0] if layer == 1 else outputs[layer - 2].A[:, 0]
        W, b = params[f"W{layer}"], params[f"b{layer}"]
        terms, rest, bias, z = formula(W, b, inputs, neuron, MOST_TERMS)
        return {
            "part": part, "place": place,
            "terms": [
                {"name": self._name(layer - 1, t.place), "weight": t.weight, "input": t.input, "product": t.product}
                for t in terms
            ],
            "others": max(0, W.shape[1] - len(terms)), "rest": rest, "bias": bias, "z": z,
            "a": float(outputs[layer - 1].A[neuron, 0]),
            "activation": self._parameters.activation_per_layer[layer - 1],
        }  # fmt: skip

    def _links(self, layer: int, weights: Array) -> list[Link]:
        order = np.argsort(-np.abs(weights), kind="stable")[:MOST_LINKS]
        return [
            {
                "layer": layer,
                "neuron": int(place),
                "name": self._name(layer, int(place)),
                "weight": float(weights[place]),
            }
            for place in order
        ]

    def _mistake(self, said: Array, guessed: NDArray[np.int64], place: int) -> Mistake:
        classes, predicted = self._data.classes, int(guessed[place])
        probability = said[predicted, place] if len(said) > 1 else said[0, place] if predicted else 1 - said[0, place]
        return {
            "place": place, "truth": classes[int(self._data.test.y[place])], "predicted": classes[predicted],
            "probability": float(probability),
        }  # fmt: skip

    def _name(self, layer: int, place: int) -> str:
        """Return what an input is called: one of the data's (layer 0), or a neuron of a layer, counted from 0."""
        if layer:
            return f"neuron {place} of layer {layer}"
        if self._shape:
            return pixel_name(place, self._shape)
        return self._names[place] if place < len(self._names) else f"input {place}"

    def _pixels(self, part: Part, place: int) -> Pixels | None:
        samples = self._part(part, place)
        if self._shape:
            pixels: Pixels = samples.stored[place].reshape(self._shape)
            return pixels
        pictures = self._data.pictures
        return pictures[place] if part == "test" and pictures is not None else None

    def _part(self, part: Part, place: int) -> Samples:
        samples = self._parts.get(part)
        if samples is None or not 0 <= place < len(samples):
            held = ", ".join(f"{name} 0 to {len(one) - 1}" for name, one in self._parts.items())
            raise InvalidInput(f"there is no {part} sample {place}", source=self._source, hint=held)
        return samples

    def _check_neuron(self, layer: int, neuron: int) -> None:
        layers = self._network.layers
        if not 1 <= layer <= len(layers):
            hint = f"1 to {len(layers)}"
            raise InvalidInput(f"there is no layer {layer}", source=self._source, hint=hint)
        if not 0 <= neuron < layers[layer - 1].size:
            hint = f"0 to {layers[layer - 1].size - 1}"
            raise InvalidInput(f"layer {layer} has no neuron {neuron}", source=self._source, hint=hint)

    def _model(self, params: Params) -> Model:
        """Return the network as a model that can judge photos, with what its file would say of it."""
        said: dict[str, Any] = {"threshold": self._threshold}
        if self._shape:
            said["image_shape"] = str(list(self._shape))
        else:
            said["features"] = self._network.features
        for name in ("photos", "columns", "backbone"):
            if value := getattr(self._data, name):
                said[name] = value
        if self._data.classes:
            said["classes"] = json.dumps(self._data.classes)
        return Model(params, self._parameters.activation_per_layer, said, f"run {self.run.run_id}")

    @cached_property
    def _data(self) -> Dataset:
        return self.epochs.data.dataset

    @cached_property
    def _parts(self) -> dict[str, Samples]:
        """Return the samples that were trained on, the test set's, and those that were held out, if any were."""
        trained, held_out = self.epochs.data.split(self._parameters)
        found = {"train": trained, "test": self._data.test}
        return {**found, "validation": held_out} if held_out else found

    @cached_property
    def _network(self) -> Network:
        return self._parameters.network(self._data.features)

    @cached_property
    def _unscaled(self) -> Parameters:
        """Return the recipe for inputs and labels in their own units, as the parameters here are."""
        return self._parameters.model_copy(update={"input_scaling": None, "target_scaling": None})

    @property
    def _unit(self) -> float:
        """Return the scale of the labels as they are learned: a squared error here is so many squares of it greater."""
        given = self._parameters.target_scaling
        return given.scale if given else 1.0

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        """Return the shape of a photo (h, w, c); () of features."""
        return photo_shape(self._data) or ()

    @cached_property
    def _names(self) -> list[str]:
        data = self._data
        if data.columns:
            columns = Columns.from_json(data.columns, f"run {self.run.run_id}").columns
            return [
                name
                for column in columns
                for name in (
                    [f"{column.name} = {value}" for value in column.values]
                    if isinstance(column, Category)
                    else [column.name]
                )
            ]
        what = f"{backbone_name(data.backbone)} feature" if data.backbone else "feature"
        return [] if self._shape else [f"{what} {number}" for number in range(data.features)]

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        """Return the training samples that are looked at: all, or as many as memory allows, evenly spread."""
        neurons = sum(layer.size for layer in self._network.layers)
        whole = len(self._parts["train"])
        most = min(MOST_NUMBERS // self._data.features, MOST_NUMBERS // 8 // neurons)
        count = max(1, min(whole, most))
        places: NDArray[np.int64] = np.arange(count) * whole // count
        return places

    @cached_property
    def _X(self) -> Array:
        return self._parts["train"].inputs(self._places)

    @cached_property
    def _stored(self) -> Mapping[str, Any] | None:
        """Return what the run's model says of itself, None while there is none."""
        key = places.params(self.run.run_id)
        try:
            with BufferedReader(ObjectFile(self._clients, self._outputs.bucket, key)) as file:
                return load_attributes(file, key)
        except InvalidInput:
            return None

    @cached_property
    def _threshold(self) -> float:
        return Model({}, (), self._stored or {}).threshold

    @cached_property
    def _model_epoch(self) -> int | None:
        return None if self._stored is None else model_epoch(self.run, self._stored)


def _wave(wave: Wave) -> WaveSeen:
    slowest = wave.slowest
    last = f" to {slowest.last}" if slowest.last > slowest.first else ""
    return {
        "step": wave.step, "batch": wave.batch, "layer": wave.layer, "direction": wave.direction, "sent": wave.sent,
        "answered": wave.answered, "invocations": wave.invocations,
        "slowest": f"neuron{'s' if last else ''} {slowest.first}{last}", "alone": wave.alone,
    }  # fmt: skip


def _connections(params: Params, layers: int) -> list[Connection]:
    """Return the strongest weights between the neurons that a picture of the network shows."""
    found: list[Connection] = []
    for layer in range(2, layers + 1):
        W = params[f"W{layer}"][:SHOWN, :SHOWN]
        order = np.argsort(-np.abs(W), axis=None, kind="stable")[: MOST_CONNECTIONS // max(1, layers - 1)]
        found += [
            {"layer": layer - 1, "source": int(place % W.shape[1]), "target": int(place // W.shape[1]),
             "weight": float(W.flat[place])}
            for place in order
        ]  # fmt: skip
    return found
