"""A backbone: a frozen, pretrained network in an ONNX file, that turns photos into features."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snn_photos.preprocessing import InvalidBackbone, Preprocessing

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

MAX_BYTES = 400_000_000
"""Of an ONNX file: FeatureLambda holds it twice while it loads it."""

MAX_FEATURES = 16_384
"""Of one photo."""


class Backbone:
    """Reads photos by `preprocessing` and returns their features. Raises InvalidBackbone if the two do not fit.

    It sees one photo at a time: on one processor larger batches are no faster, and so a photo's features have the same
    bits in any company.
    """

    def __init__(self, content: bytes, preprocessing: Preprocessing, source: str) -> None:
        self.preprocessing, self._source = preprocessing, source
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._session = _session(content, source)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise InvalidBackbone(
                f"has {_count(len(inputs), 'input')} and {_count(len(outputs), 'output')}, not an image and a vector",
                source=source,
                hint="export it up to the layer whose output are the features",
            )
        self._input, self._output = inputs[0].name, outputs[0].name
        self._check_input(inputs[0])
        self.features = self._check_output(outputs[0])

    def of(self, picture: Image.Image) -> NDArray[np.float32]:
        """Return the features (d,) of an RGB picture of any size."""
        return self.see(self.preprocessing.apply(picture))

    def see(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the features (d,) of a picture as `preprocessing` makes it."""
        return self._run(inputs).reshape(-1)

    def check(self) -> None:
        """Look whether it works: features are finite, and differ between pictures. Raises InvalidBackbone."""
        random = np.random.default_rng(0)
        size = (self.preprocessing.height, self.preprocessing.width)
        noise = Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8))
        plain = [Image.new("RGB", size[::-1], colour) for colour in ("red", "blue")]
        try:
            several = [self.of(picture) for picture in (noise, *plain)]
        except Exception as problem:
            raise self._wrong(f"cannot be run: {_why(problem)}", _ANEW) from None
        if {len(each) for each in several} != {self.features}:
            raise self._wrong("does not give each picture as many features", "export it up to a layer of fixed width")
        found = np.stack(several)
        if not np.isfinite(found).all():
            raise self._wrong("gives features that are not finite", "check mean and scale in the JSON beside it")
        if not np.ptp(found, axis=0).any():
            raise self._wrong("gives the same features for any picture", "check mean and scale in the JSON beside it")

    def _run(self, inputs: NDArray[np.float32]) -> NDArray[Any]:
        outputs: NDArray[Any] = self._session.run([self._output], {self._input: inputs[None]})[0]
        return outputs

    def _check_input(self, asked: Any) -> None:
        if asked.type != "tensor(float)":
            raise self._wrong(f"its input {asked.name!r} is of {asked.type}, not float32", "export it in float32")
        wanted = self.preprocessing.shape
        if len(asked.shape) != 4:
            raise self._wrong(
                f"its input {asked.name!r} has {len(asked.shape)} dimensions, not the four of a batch of images",
                "a backbone reads images",
            )
        fits = [not isinstance(size, int) or size == want for size, want in zip(asked.shape[1:], wanted, strict=True)]
        if not all(fits):
            raise self._wrong(
                f"its input {asked.name!r} is {_text(asked.shape)}, but the JSON beside it makes pictures of "
                f"{_text(('m', *wanted))}",
                "correct height, width or layout there",
            )
        if isinstance(asked.shape[0], int) and asked.shape[0] != 1:
            raise self._wrong(
                f"wants {asked.shape[0]} pictures at once", "export it for a batch of any size, or of one"
            )

    def _check_output(self, given: Any) -> int:
        """Return how many features a photo has."""
        if given.type != "tensor(float)":
            raise self._wrong(f"its output {given.name!r} is of {given.type}, not float32", "export it in float32")
        try:
            shape = self._run(np.zeros(self.preprocessing.shape, np.float32)).shape
        except Exception as problem:  # whatever the runtime says of a network that cannot run
            raise self._wrong(f"cannot be run: {_why(problem)}", _ANEW) from None
        if len(shape) < 2 or shape[0] != 1 or any(size != 1 for size in shape[2:]):
            raise self._wrong(
                f"its output {given.name!r} is {_text(shape) or 'one number'} for a picture, not a vector",
                "export it up to the layer whose output are the features, behind the pooling",
            )
        if not 1 < shape[1] <= MAX_FEATURES:
            raise self._wrong(f"gives {_count(shape[1], 'feature')}", f"2 to {MAX_FEATURES:,} can be used")
        return int(shape[1])

    def _wrong(self, problem: str, hint: str) -> InvalidBackbone:
        return InvalidBackbone(problem, source=self._source, hint=hint)


def _session(content: bytes, source: str) -> InferenceSession:
    import onnxruntime

    if len(content) > MAX_BYTES:
        problem = f"has {len(content) / 1e6:,.0f} MB"
        raise InvalidBackbone(problem, source=source, hint=f"at most {MAX_BYTES / 1e6:,.0f} MB: take a smaller network")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # its lines name no file; what is wrong is told by us
    # Weights in files of their own would be looked for in the working directory: here, and not on the stack.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    options.use_deterministic_compute = True
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # it has a class for each of its codes, and damaged files meet most of them
        problem_ = f"is no ONNX file that can be used: {_why(problem)}"
        raise InvalidBackbone(problem_, source=source, hint=_ANEW) from None


_ANEW = "export it again, with its weights in the file"


def _why(problem: Exception) -> str:
    """Return what the runtime says in one line, without where in its own source that was."""
    line = " ".join(str(problem).split())
    line = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", line)
    line = re.sub(r"/onnxruntime_src/\S+ .*\) (?=[A-Z])", "", line)
    return re.sub(r"\S+\.(?:cc|h):\d+ \S+ ", "", line).replace("  ", " ")[:300].strip()


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _text(shape: Sequence[Any]) -> str:
    return "×".join(str(size) for size in shape)
