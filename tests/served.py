"""Models of every kind, put into a stack as a run leaves them, for the endpoint to answer with."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odd_photos import encoded
from onnx import helper, numpy_helper
from onnxruntime import InferenceSession
from PIL import Image

from snn.network import Network
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.registry.registry import Registry
from snn_cloud.serve.deployed import Deployed
from snn_cloud.serve.endpoint import Endpoint
from snn_cloud.serve.meter import Meter
from snn_data.columns import Category, Columns, Number
from snn_data.model import Model, load_model, save_model

__all__ = ["KINDS", "Kind", "asked_here", "endpoint_here", "event_of", "picture_of", "put_run", "witnessed"]


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


def endpoint_here(
    clients: Clients, stack: StackOutputs, *, key: str = "", daily_usd: float = 0.0,
    clock: Callable[[], float] = time.time,
) -> Endpoint:  # fmt: skip
    """What one environment of PredictLambda has, in this process, with all that it reads and writes on the emulator."""
    registry = Registry(clients.dynamodb, stack.table)
    meter = Meter(registry, stack.stack_name, "arm64", 1769, daily_usd, clock)
    digest = hashlib.sha256(key.encode()).hexdigest() if key else ""
    return Endpoint(Deployed(clients, stack.bucket, registry), registry, meter, digest)


def event_of(
    body: bytes | str = b"", kind: str = "image/png", path: str = "/invocations", method: str = "POST", **headers: str
) -> dict[str, Any]:
    """A request as function URLs hand it over: text as it is, all else as base64. Underscores of headers are dashes."""
    text = isinstance(body, str)
    named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    context: dict[str, Any] = {
        "accountId": "anonymous", "apiId": "u" * 32, "domainName": f"{'u' * 32}.lambda-url.us-east-1.on.aws",
        "requestId": "00000000-0000-4000-8000-000000000000", "routeKey": "$default", "stage": "$default",
        "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "x"},
        "time": "01/Dec/2026:00:00:00 +0000", "timeEpoch": 1796083200000,
    }  # fmt: skip
    return {
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "",
        "headers": {"content-type": kind, "host": context["domainName"], **named} if kind else named,
        "requestContext": context, "body": body if isinstance(body, str) else base64.b64encode(body).decode(),
        "isBase64Encoded": not text,
    }  # fmt: skip


def asked_here(endpoint: Endpoint, body: bytes | str, kind: str = "image/png", target: str = "", **headers: str) -> Any:
    """The status of a reply, and what its JSON says."""
    named = {"x_amzn_sagemaker_target_model": target, **headers} if target else headers
    answered = endpoint.answer(event_of(body, kind, **named))
    return answered["statusCode"], json.loads(answered["body"])


def witnessed(model: Model, inputs: NDArray[Any]) -> NDArray[Any]:
    """What onnxruntime computes (m, o) of a model's arrays for inputs (features, m)."""
    nodes, arrays, last = [], [], "inputs"
    kinds = {"relu": "Relu", "sigmoid": "Sigmoid", "softmax": "Softmax", "identity": "Identity"}
    for number, activation in enumerate(model.activations, 1):
        W, b = model.params[f"W{number}"], model.params[f"b{number}"]
        arrays += [numpy_helper.from_array(W, f"W{number}"), numpy_helper.from_array(b[:, 0], f"b{number}")]
        nodes.append(helper.make_node("Gemm", [last, f"W{number}", f"b{number}"], [f"Z{number}"], transB=1))
        nodes.append(helper.make_node(kinds[activation], [f"Z{number}"], [f"A{number}"]))
        last = f"A{number}"
    dtype = model.params["W1"].dtype
    kind = helper.np_dtype_to_tensor_dtype(dtype)
    graph = helper.make_graph(
        nodes, "model", [helper.make_tensor_value_info("inputs", kind, ["m", model.features])],
        [helper.make_tensor_value_info(last, kind, ["m", None])], arrays,
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    found: NDArray[Any] = session.run(None, {"inputs": inputs.T.astype(dtype)})[0]
    return found
