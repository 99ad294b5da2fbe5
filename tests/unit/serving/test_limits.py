"""What one answer has room for, and one request: Lambda's 6 MB, in and out."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from served import asked_here, event_of

from snn.network import Network
from snn_cloud.serve.endpoint import Endpoint
from snn_cloud.serve.http import Asked, Refused
from snn_cloud.serve.loaded import Loaded
from snn_cloud.serve.meter import Meter
from snn_cloud.serve.moment import Moment
from snn_data.model import Model

LAMBDA_TAKES = 6_291_556  # bytes of a response, as its error message has it
FEATURES = 3
NAMES = {
    "plain": lambda number: f"class {number}",
    "quoted": lambda number: f'"\\{number}"' * 9,
    "foreign": lambda number: f"Käse \U0001f9c0 {number}",
}


def loaded(classes: list[str], output: str = "softmax") -> Loaded:
    size = len(classes) if output == "softmax" else 1
    network = Network.of(FEATURES, (size,), (output,))
    params = network.first_params(0, "float64")
    attributes = {"features": FEATURES, "classes": json.dumps(classes)} if classes else {"features": FEATURES}
    return Loaded({"name": "x", "version": 12_345, "run_id": "r" * 63}, Model(params, (output,), attributes))


class Deployed:
    """What is deployed, without a cloud."""

    def __init__(self, champion: Loaded) -> None:
        self.one = champion

    def champion(self, name: str) -> Loaded:
        return self.one

    def trial(self, name: str) -> None:
        return None


class Nowhere:
    """A registry that forgets."""

    def count(self, *_: Any) -> None:
        pass

    def spend(self, *_: Any) -> int:
        return 0


def endpoint(champion: Loaded) -> Endpoint:
    registry: Any = Nowhere()
    deployed: Any = Deployed(champion)
    return Endpoint(deployed, registry, Meter(registry, "s", "arm64", 1_769, 0.0))


def instances(count: int) -> str:
    rows = np.random.default_rng(0).standard_normal((count, FEATURES)).round(4)
    return json.dumps({"instances": rows.tolist()})


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("classes", [2, 10, 100, 1_000, 5_000])
def test_the_longest_answer_that_is_given_fits_into_lambda_s(classes: int, names: str) -> None:
    champion = loaded([NAMES[names](number) for number in range(classes)])
    most = min(champion.most, 10_000)
    answered = endpoint(champion).answer(event_of(instances(most), "application/json"))
    assert answered["statusCode"] == 200
    assert len(json.loads(answered["body"])["predictions"]) == most
    assert len(json.dumps(answered).encode()) < LAMBDA_TAKES
    if champion.most < 10_000:
        assert len(json.dumps(answered).encode()) > 0.4 * LAMBDA_TAKES  # it is not far too careful either


def test_ten_thousand_rows_of_a_thousand_classes_are_413_with_what_to_do() -> None:
    champion = loaded([f"class {number}" for number in range(1_000)])
    status, said = asked_here(endpoint(champion), instances(10_000), "application/json")
    assert status == 413
    assert said["error"] == (
        "the answers to 10,000 instances, each with 1,000 probabilities, are too long "
        f"(send at most {champion.most:,} at a time)"
    )
    assert 150 < champion.most < 250
    status, said = asked_here(endpoint(champion), instances(champion.most + 1), "application/json")
    assert status == 413


def test_ten_thousand_rows_of_two_classes_or_a_number_are_answered() -> None:
    for champion in (loaded(["no", "yes"], "sigmoid"), loaded([], "identity")):
        assert champion.most > 10_000
        status, said = asked_here(endpoint(champion), instances(10_000), "application/json")
        assert (status, len(said["predictions"])) == (200, 10_000)


def test_photos_count_too() -> None:
    champion = loaded([f"class {number}" for number in range(30_000)])
    with pytest.raises(Refused, match="this model reads 3 features, not photos"):
        champion.answers(Asked(photos=(b"x",)))
    assert champion.most < 10


def test_a_moment_is_not_near_once_either_clock_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = Moment(steady=100.0, wall=1_000.0)
    for steady, wall, near in (
        (101.0, 1_001.0, True), (102.0, 1_002.0, True), (102.1, 1_001.0, False), (100.0, 4_600.0, False),
        (101.0, 990.0, False), (100.0, 1_000.0, True),
    ):  # fmt: skip
        monkeypatch.setattr("snn_cloud.serve.moment.time.monotonic", lambda now=steady: now)
        monkeypatch.setattr("snn_cloud.serve.moment.time.time", lambda now=wall: now)
        assert moment.is_within(2.0) is near, (steady, wall)


def test_a_child_that_opens_a_photo_imports_nothing() -> None:
    """In a process of its own, as this one has opened many."""
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["without"] != []
    assert told["ready"] == {key: [] for key in ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "BMP"]}


CHILD = """
import json, sys
from io import BytesIO
import numpy as np
from snn_data.isolated import isolated
from snn_photos.pictures import get_ready, open_picture

def imported(content):
    def work(_):
        before = set(sys.modules)
        np.asarray(open_picture(BytesIO(content)).resize((3, 3)))
        return sorted(name for name in set(sys.modules) - before if name.startswith("PIL"))
    return isolated(work)

PIXEL = bytes.fromhex("424d3a0000000000000036000000280000000100000001000000010018000000000004000000130b0000130b0000"
                      "0000000000000000ff00ff00")
told = {"without": imported(PIXEL)}
get_ready()
from PIL import Image
def saved(kind):
    out = BytesIO()
    Image.new("RGB", (9, 9), "red").save(out, kind)
    return out.getvalue()
told["ready"] = {kind: imported(saved(kind)) for kind in ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "BMP")}
print(json.dumps(told))
"""
