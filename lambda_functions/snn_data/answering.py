"""What a model's outputs say of one sample, in words."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from snn.activations import Array
from snn.decision import predicted_classes
from snn_data.model import Model


class Said(TypedDict):
    """The class, its name and its probability; of a model that gives numbers the `value` alone.

    Of two classes the probability is that of class 1; of more that of the class that was predicted.
    """

    predicted: NotRequired[int]
    class_name: NotRequired[str]
    probability: NotRequired[float]
    value: NotRequired[float]


def say(model: Model, outputs: Array) -> Said:
    """Return what a network's outputs (o,) for one sample say."""
    if not model.of_classes:
        return {"value": float(outputs[0])}
    predicted = int(predicted_classes(outputs[:, None], model.threshold)[0])
    probability = float(outputs[-1] if len(model.classes) == 2 else outputs[predicted])
    return {"predicted": predicted, "class_name": model.classes[predicted], "probability": probability}
