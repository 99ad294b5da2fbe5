"""The forms that start a training and a cleanup: what the fields mean, their allowed values and their defaults.

Its fields are the keys of a DAG run's `conf`, for whoever starts one by the API.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import Any

from airflow.sdk import Param

from snn.optimizers import OPTIMIZERS
from snn.recipe import BACKBONE_NAME
from snn.schedules import SCHEDULES
from snn.strategies import STRATEGIES
from snn_client.judging.contents import METRICS
from snn_client.serving.batch_contents import FORMATS, MAX_AT_ONCE
from snn_client.stack.options import MAX_NAME, NAME_PATTERN
from snn_cloud.ledger.parameters import MAX_SECONDS
from snn_operators.drift import ON_DRIFT

# Fields without a section stand in the one that is open from the start.
HOW, HOW_ANSWERED, WHERE = "How to train", "How to answer", "Where"

# Fields that replace single parameters of parameters.json; empty ones leave it as it is.
OVERRIDES = (
    "epochs", "learning_rate", "batch_size", "threshold", "seed", "strategy", "optimizer", "schedule", "dtype",
    "validation", "patience", "granularity", "backbone", "max_usd", "max_seconds",
)  # fmt: skip


def training_form(empty: str = "a recipe that fits the data, chosen by itself") -> dict[str, Param]:
    """Return the Params of a DAG that trains one network. `empty` is what is trained if no parameters are named.

    Defaults that differ from place to place come from the environment: SNN_DATASET, SNN_PARAMETERS, SNN_STACK_NAME.
    """
    return {
        "dataset": Param(
            os.environ.get("SNN_DATASET"), type="string", minLength=1, title="Data set",
            description="A datasets.h5, a folder or archive of photos, a CSV or Parquet file: a path that the "
            "workers can read, or s3://bucket/key; a prefix ends in /.",
        ),
        "data_options": Param(
            None, type=["null", "object"], title="Options of the data", section=HOW,
            description='How data that are no .h5 are read: {"size": 32, "classes": ["non-cat", "cat"], '
            '"skip_bad": true}, {"label": "ill", "drop": ["remarks"], "group": "patient"}. Empty: found out from the '
            "data.",
        ),
        "images": Param(
            None, type=["null", "array"], items={"type": "string", "minLength": 1}, title="Photos to classify",
            description="Paths or s3:// addresses of new photos for the trained network, one per line; for a network "
            "trained on a table: of tables, each row of which is predicted.",
        ),
        "parameters_file": Param(
            os.environ.get("SNN_PARAMETERS"), type=["null", "string"], minLength=1, title="Parameters", section=HOW,
            description=f"A parameters.json: path or s3:// address. Empty: {empty}.",
        ),
        "epochs": _override(
            "integer", "Epochs", "Maximum number of passes over the data.", minimum=1, maximum=10_000_000,
        ),
        "learning_rate": _override("number", "Learning rate", "Step size.", exclusiveMinimum=0, maximum=1000),
        "batch_size": _override("integer", "Batch size", "Samples in a mini-batch.", minimum=1),
        "threshold": _override("number", "Threshold", "Stop at this cost or below.", exclusiveMinimum=0),
        "seed": _override("integer", "Seed", "Determines the first weights and the mini-batches.", minimum=0),
        "strategy": _override(
            "string", "Strategy", "What an epoch does with its mini-batches.",
            **_names({name: strategy.meaning for name, strategy in STRATEGIES.items()}),
        ),
        "optimizer": _override(
            "string", "Optimizer", "How gradients update the weights.", **_names(_meanings(OPTIMIZERS))
        ),
        "schedule": _override("string", "Schedule", "How the learning rate changes.", **_names(_meanings(SCHEDULES))),
        "dtype": _override(
            "string", "Arithmetic", "float32 is faster, and as good for most networks.",
            enum=[None, "float32", "float64"],
        ),
        "validation": _override(
            "number", "Validation",
            "Share of the training set to hold out, to see after each epoch how good the network is.",
            exclusiveMinimum=0, exclusiveMaximum=1,
        ),
        "patience": _override(
            "integer", "Patience", "Stop after this many epochs without a better validation. Needs Validation.",
            minimum=1,
        ),
        "granularity": _override(
            "string", "Granularity",
            "What one Lambda invocation computes. Changes cost and visibility; results only by rounding.",
            enum=[None, "batch", "layer", "neuron"],
            values_display={
                "null": "as in the parameters",
                "batch": "batch: the trainer computes everything",
                "layer": "layer: one invocation per layer (needs the cache)",
                "neuron": "neuron: one invocation per neuron (needs the cache)",
            },
        ),
        "backbone": _override(
            "string", "Backbone",
            "A pretrained network, whose features of the photos are learned: efficientnet-lite0, or one that was added "
            "to the stack. With it a few hundred photos are enough. none: without the one in the parameters.",
            pattern=f"^{BACKBONE_NAME}$",
        ),
        "max_usd": _override(
            "number", "Maximum cost, USD",
            "The run ends FAILED once it has cost this much at list prices; it can be resumed.",
            exclusiveMinimum=0,
        ),
        "max_seconds": _override(
            "number", "Maximum time, seconds",
            "The run ends FAILED once it has trained for this long; it can be resumed.",
            exclusiveMinimum=0, maximum=MAX_SECONDS,
        ),
        "resume": Param(
            False, type="boolean", title="Resume", section=HOW,
            description="When the train task is cleared, continue from its failed or cancelled run's checkpoint. Off: "
            "train from the first epoch.",
        ),
        "deploy": Param(
            True, type="boolean", title="Deploy", section=WHERE,
            description="Create or update the stack first. Off: use the stack as it is.",
        ),
        "stack_name": _stack_name("Name of the CloudFormation stack.", section=WHERE),
    }  # fmt: skip


def cleanup_form() -> dict[str, Param]:
    """Return the Params of a DAG that deletes a stack. No field can name anything but a stack of ours."""
    return {
        "stack_name": _stack_name("Name of the CloudFormation stack to delete, with everything in it."),
        "dry_run": Param(
            True, type="boolean", title="Dry run", description="List what there is; change nothing.",
        ),
        "confirm": Param(
            None, type=["null", "string"], title="Confirm",
            description="Enter the stack's name again. Not needed for a dry run.",
        ),
        "cancel_runs": Param(
            False, type="boolean", title="Cancel runs", description="Cancel runs that have not ended. Off: refuse.",
        ),
    }  # fmt: skip


def sweep_form() -> dict[str, Param]:
    """Return the Params of a DAG that trains many networks and compares them: those of one, and what differs."""
    form = training_form("itsacat's network, 20-7-5-1")
    del form["images"], form["validation"]  # the sweep's own takes its place
    return {
        "dataset": form.pop("dataset"),
        "combinations": Param(
            {"learning_rate": [0.003, 0.0075, 0.02]}, type=["object", "array"], minProperties=1, minItems=1,
            items={"type": "object"}, title="Combinations",
            description='A grid, {"learning_rate": [0.01, 0.02], "layer_sizes": [[20, 7, 5, 1], [10, 1]], '
            '"seed": [1, 2]}, or a list of objects, one for each network.',
        ),
        "validation": Param(
            0.2, type="number", exclusiveMinimum=0, anyOf=[{"exclusiveMaximum": 1}, {"multipleOf": 1, "minimum": 2}],
            title="Held out",
            description="Part of the training set to compare the networks on: a share (0.2), or a number of folds "
            "(5), each held out in turn. The test set is not touched.",
        ),
        "halving": Param(
            False, type="boolean", title="Halving",
            description="Train all a ninth of the epochs, the best three in eight a third of them, and the best half "
            "of those to the end: a third of the epochs in all.",
        ),
        "retrain": Param(
            False, type="boolean", title="Hand over", description="Start snn_retraining with the best network.",
        ),
        **form,
    }  # fmt: skip


def retraining_form(approval: bool = False) -> dict[str, Param]:
    """Return the Params of a DAG that retrains: every field has a default, for runs that nobody starts by hand.

    `approval` is whether a person is asked unless the form says otherwise.
    """
    training = training_form("the champion's own; without a champion itsacat's network, 20-7-5-1")
    kept = {name: training[name] for name in ("data_options", "parameters_file", *OVERRIDES, "resume", "stack_name")}
    return {
        "dataset": Param(
            os.environ.get("SNN_DATASET"), type=["null", "string"], minLength=1, title="Data set",
            description="As in snn_training: a path or s3:// address. A run started by an upload uses the uploaded "
            "datasets.h5.",
        ),
        "metric": Param(
            "accuracy", type="string", enum=list(METRICS),
            title="Compare by", description="The metric on the test set to compare champion and challenger by.",
        ),
        "margin": Param(
            0.01, type="number", minimum=0, title="Margin",
            description="Minimum improvement required, in the metric's own unit.",
        ),
        "significance": Param(
            0.05, type="number", exclusiveMinimum=0, maximum=1, title="Significance",
            description="Below what probability chance alone may explain the improvement. 1: only the margin counts.",
        ),
        "warm_start": Param(
            False, type="boolean", title="Warm start",
            description="Begin with the champion's weights instead of random ones; the network must be the same.",
        ),
        "on_drift": Param(
            "warn", type="string", enum=list(ON_DRIFT), title="On drift",
            description="If the data are no more like those that the champion was trained on: say so and go on, fail, "
            "or train nothing.",
        ),
        "approval": Param(
            approval, type="boolean", title="Approval",
            description="Ask a person before a better model is promoted. A stack that requires approval asks anyway.",
        ),
        "approval_hours": Param(
            None, type=["null", "number"], exclusiveMinimum=0, maximum=8760, title="Hours for an answer",
            description="If nobody has answered by then, the model is rejected. Empty: wait for an answer.",
        ),
        "roll_back": Param(
            False, type="boolean", title="Roll back",
            description="Train nothing; swap the champion and the previous one.",
        ),
        "parameters": Param(
            None, type=["null", "object"], title="Parameters as JSON", section=HOW,
            description="The contents of a parameters.json. Empty: the file below, or else the champion's own.",
        ),
        **kept,
    }  # fmt: skip


def batch_form() -> dict[str, Param]:
    """Return the Params of a DAG that has many inputs answered."""
    return {
        "source": Param(
            None, type="string", minLength=1, title="Source",
            description="A folder of photos, an s3:// prefix of them that ends in /, or a CSV or Parquet file: a path "
            "that the workers can read, or s3://bucket/key.",
        ),
        "model": Param("default", type="string", minLength=1, title="Model", description="Name of the model."),
        "version": Param(
            None, type=["null", "string"], minLength=1, title="Version",
            description="A version's number, or its run. Empty: the champion.",
        ),
        "format": Param(
            "jsonl", type="string", enum=list(FORMATS), title="Format", description="Of the file with the answers.",
        ),
        "max_usd": Param(
            None, type=["null", "number"], exclusiveMinimum=0, title="Maximum cost, USD",
            description="The batch stops before it costs more at list prices; with a larger one it goes on.",
        ),
        "at_once": Param(
            8, type="integer", minimum=1, maximum=MAX_AT_ONCE, title="At once", section=HOW_ANSWERED,
            description="Invocations of PredictLambda at a time.",
        ),
        "stack_name": _stack_name("Name of the CloudFormation stack.", section=WHERE),
    }  # fmt: skip


def overrides(*without: str) -> dict[str, str]:
    """Return the templates that read the overrides from the form, except some."""
    return {name: f"{{{{ params.{name} }}}}" for name in OVERRIDES if name not in without}


def stack_options() -> dict[str, str]:
    """Return the templates of what the form asks of the stack: with a backbone it needs a FeatureLambda."""
    return {"with_features": "{{ True if params.backbone not in (None, 'none') else None }}"}


def _names(meanings: Mapping[str, str]) -> dict[str, Any]:
    """Return a choice of names, each with its meaning."""
    shown = {name: f"{name}: {meaning}" for name, meaning in meanings.items()}
    return {"enum": [None, *meanings], "values_display": {"null": "as in the parameters", **shown}}


def _meanings(registry: Mapping[str, type[Any]]) -> dict[str, str]:
    """Return the first sentence of the docstring of each class in a registry."""
    return {
        name: inspect.cleandoc(kind.__doc__ or name).split("\n\n")[0].replace("\n", " ")
        for name, kind in registry.items()
    }


def _stack_name(description: str, **where: Any) -> Param:
    return Param(
        os.environ.get("SNN_STACK_NAME", "snn"), type="string", maxLength=MAX_NAME, pattern=f"^{NAME_PATTERN}$",
        title="Stack", description=description, **where,
    )  # fmt: skip


def _override(kind: str, title: str, description: str, **schema: Any) -> Param:
    text = f"{description} Empty: as in the parameters."
    return Param(None, type=["null", kind], title=title, section=HOW, description=text, **schema)
