"""Whether a recipe fits a data set: checked before anything is uploaded, and again when a run is launched."""

from __future__ import annotations

from snn.errors import InvalidParameters
from snn.recipe import Recipe
from snn.validation import check_held_out
from snn_data.dataset import Dataset, Header, backbone_name


def check_recipe(recipe: Recipe, data: Dataset | Header, source: str = "parameters.json") -> None:
    """Raise InvalidParameters, naming the field and what to do, if the recipe cannot be trained on the data."""
    last = f"layer{recipe.layers}"
    known, output = len(data.classes), recipe.activations[last]
    if known != recipe.classes:
        has = f"{known} classes" if known else "numbers for labels (no list_classes)"
        wants = f"distinguishes {recipe.classes} classes" if recipe.classes else "predicts a number"
        hint = {0: "use 1 identity", 2: "use 1 sigmoid, or 2 softmax"}.get(known, f"use {known} softmax")
        raise InvalidParameters(
            f"{recipe.neurons[last]} {output} {wants}, but the data set has {has}",
            field=f"neurons.{last}" if output == "softmax" and known > 1 else f"activations.{last}",
            source=source,
            hint=f"{hint} in the last layer",
        )
    if recipe.augment and len(data.shape) < 2:
        raise InvalidParameters(
            "changes photos, but the data set has features", field="augmentation", source=source, hint="leave it out"
        )
    features_of = backbone_name(data.backbone)
    if recipe.backbone and recipe.backbone != features_of:
        has = f"features of {features_of}" if features_of else "no features of a backbone"
        hint = "stage the photos anew, by which their features are computed" if features_of else "stage its photos"
        problem = f"is {recipe.backbone}, but the data set has {has}"
        raise InvalidParameters(problem, field="backbone", source=source, hint=hint)
    if recipe.validation == "file" and data.validation is None:
        raise InvalidParameters(
            "is file, but the data set has no validation_set_x",
            field="validation",
            source=source,
            hint="give a share of the training part, such as 0.1",
        )
    chosen = recipe.validation == "file" and not isinstance(recipe.decision_threshold, float)
    if chosen and data.validation is not None and not (data.validation.y == 1).any():
        raise InvalidParameters(
            "is chosen on the validation set, which has no sample of class 1",
            field="decision_threshold",
            source=source,
            hint="give a number, or another validation set",
        )
    if isinstance(recipe.validation, float):
        check_held_out(data.train.y, data.train.groups, recipe.validation, recipe.seed, known)
