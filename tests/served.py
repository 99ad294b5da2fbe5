"""Models of every kind, put into a stack as a run leaves them, for the endpoint to answer with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from odd_photos import encoded
from PIL import Image

from snn.network import Network
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.parameters import Parameters
from snn_data.columns import Category, Columns, Number
from snn_data.model import Model, load_model, save_model

__all__ = ["KINDS", "Kind", "picture_of", "put_run"]


@dataclass(frozen=True)
class Kind:
    """A kind of model: its last layer, what it reads, and the names of its classes."""

    output: str
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    columns: Columns | None = None
    dtype: str = "float64"
    more: dict[str, Any] = field(default_factory=dict)

    def file(self, run_id: str, seed: int = 0) -> bytes:
        """A `params.h5` of this kind, with weights of a seed."""
        features = self.columns.features if self.columns else int(np.prod(self.shape))
        last = len(self.classes) if self.output == "softmax" else 1
        network = Network.of(features, (7, last), ("relu", self.output))
        random = np.random.default_rng(seed)
        params = {
            name: (array + 0.05 * random.standard_normal(array.shape)).astype(self.dtype)
            for name, array in network.first_params(seed, self.dtype).items()
        }
        attributes: dict[str, Any] = {"run_id": run_id, **self.more}
        if self.classes:
            attributes["classes"] = json.dumps(list(self.classes))
        if self.columns:
            attributes |= {"columns": self.columns.to_json(), "features": features}
        elif len(self.shape) == 1:
            attributes["features"] = features
        else:
            attributes["image_shape"] = json.dumps(list(self.shape))
        buffer = BytesIO()
        save_model(buffer, params, ("relu", self.output), attributes)
        return buffer.getvalue()

    def model(self, run_id: str, seed: int = 0) -> Model:
        """That model."""
        return load_model(BytesIO(self.file(run_id, seed)))


TABLE = Columns((Number("height", 1.7, 0.1), Number("weight", 70.0, 12.5), Category("colour", ("blue", "red", None))))
KINDS = {
    "photos of two classes": Kind("sigmoid", (12, 10, 3), ("non-cat", "cat"), more={"threshold": 0.4}),
    "photos of two classes, float32": Kind("sigmoid", (12, 10, 3), ("non-cat", "cat"), dtype="float32"),
    "grey photos of three classes": Kind("softmax", (8, 8, 1), ("a", "b", "c")),
    "photos with numbers": Kind("identity", (6, 6, 3)),
    "features of three classes": Kind("softmax", (9,), ("x", "y", "z")),
    "a table of two classes": Kind("sigmoid", (5,), ("no", "yes"), TABLE),
    "a table with numbers": Kind("identity", (5,), (), TABLE, "float32"),
}


def put_run(clients: Clients, stack: StackOutputs, run_id: str, content: bytes) -> str:
    """Put a model where a completed run leaves it, and the run into the ledger; return the hash of the file."""
    from snn_cloud.ledger.ledger import Ledger
    from snn_cloud.ledger.record import Run, State

    clients.s3.put_object(Bucket=stack.bucket, Key=places.params(run_id), Body=content)
    clients.s3.put_object(Bucket=stack.bucket, Key=places.results(run_id), Body=b"{}")
    parameters = Parameters.load({"epochs": 1, "layers": 1, "activations": {"layer1": "sigmoid"},
                                  "neurons": {"layer1": 1}, "learning_rate": 0.1})  # fmt: skip
    Ledger(clients.dynamodb, stack.table).create(
        Run(run_id=run_id, state=State.COMPLETED, parameters=parameters, dataset=f"runs/{run_id}/input/datasets.h5")
    )
    return hashlib.sha256(content).hexdigest()


def picture_of(random: np.random.Generator, size: tuple[int, int] = (17, 23)) -> bytes:
    """The PNG file of a picture of noise."""
    return encoded(Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)), "PNG")
