"""Beginning with the weights of another model: a retraining that goes on from the champion's."""

from __future__ import annotations

from io import BytesIO

from snn.errors import InvalidModel, InvalidParameters
from snn.network import Params
from snn.recipe import Recipe
from snn_data.model import load_model


def begin_with(content: bytes, first: Params, recipe: Recipe) -> Params:
    """Return the weights in a model's file, in the recipe's arithmetic, for a network whose random ones are `first`.

    A model is kept for inputs and labels as they are; what the recipe scales, it goes on from in that scale.

    Raises InvalidParameters, of the field `initial_weights`, if it is another network.
    """
    source = recipe.initial_weights or ""
    try:
        model = load_model(BytesIO(content), source=source)
    except InvalidModel as error:
        raise InvalidParameters(str(error), field="initial_weights", hint="name a model that can be read") from None
    shapes = {name: array.shape for name, array in model.params.items()}
    wanted = {name: array.shape for name, array in first.items()}
    if shapes != wanted or model.activations != recipe.activation_per_layer:
        sizes = ["-".join(str(len(of[f"W{i}"])) for i in range(1, len(of) // 2 + 1)) for of in (model.params, first)]
        raise InvalidParameters(
            f"{source} is a network of {model.features} inputs and {sizes[0]} neurons, {' '.join(model.activations)}; "
            f"the recipe's has {first['W1'].shape[1]} inputs and {sizes[1]}, {' '.join(recipe.activation_per_layer)}",
            field="initial_weights",
            hint="train the same network, or leave it out",
        )
    return recipe.in_scaled_units({name: model.params[name].astype(array.dtype) for name, array in first.items()})
