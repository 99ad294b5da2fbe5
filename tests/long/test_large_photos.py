"""Three gigabytes of photos within one of memory, and the 70,000 files of MNIST, from files to a bucket."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path

import boto3
import numpy as np
import oracle
import pytest
from PIL import Image

from snn_cli.local.emulator import Emulator
from snn_data.dataset import load_header

MNIST = Path(__file__).parents[3] / "shared" / "datasets" / "mnist.tar.xz"
pytestmark = pytest.mark.slow

STAGING = """
import json, resource, sys
from snn_client.data.options import Options
from snn_client.data.staging import stage
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.parameters import Parameters

source, bucket, parameters, options = sys.argv[1:]
chosen = Options.of(json.loads(options))
staged = stage(Clients.from_environment(), bucket, "large", source, Parameters.load(parameters), (), chosen)
own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(json.dumps({"key": staged.dataset_key, "own": own * 1024, "children": children * 1024}))
"""


def staged(source: Path, options: dict[str, int], parameters: object) -> tuple[dict[str, int], Path]:
    """Stage in a process of its own; return what it took, and the file."""
    bucket, s3 = f"large-{uuid.uuid4().hex[:12]}", boto3.client("s3")
    s3.create_bucket(Bucket=bucket)
    words = [sys.executable, "-c", STAGING, str(source), bucket, json.dumps(parameters), json.dumps(options)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    took = json.loads(done.stdout)
    arrived = source.parent / "arrived.h5"
    s3.download_file(bucket, took["key"], str(arrived))
    s3.delete_object(Bucket=bucket, Key=took["key"])
    return took, arrived


def test_three_gigabytes_within_one_of_memory(emulator: Emulator, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(200):
        folder = tmp_path / "in" / ("cat" if number % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        noise = random.integers(0, 256, (230, 230, 3), dtype=np.uint8).repeat(10, axis=0).repeat(10, axis=1)
        Image.fromarray(noise).save(folder / f"{number}.bmp")
    assert sum(path.stat().st_size for path in (tmp_path / "in").rglob("*.bmp")) > 3e9
    network = oracle.small_network((4, 1), ("relu", "sigmoid"))
    took, arrived = staged(tmp_path / "in", {"size": 1_000}, network)
    header = load_header(arrived)
    assert (header.shape, len(header.train), len(header.test)) == ((1_000, 1_000, 3), 160, 40)
    # Of the children there are two at a time; what they share with their parent is counted in each.
    assert took["own"] + took["children"] < 1e9, took


@pytest.mark.skipif(not MNIST.exists(), reason="MNIST is not beside the project")
def test_mnist_from_its_archive(emulator: Emulator, tmp_path: Path) -> None:
    archive = tmp_path / "mnist.tar.xz"
    archive.symlink_to(MNIST)
    took, arrived = staged(archive, {}, oracle.small_network((4, 10), ("relu", "softmax")))
    header = load_header(arrived)
    assert header.classes == tuple("0123456789")
    assert (header.shape, len(header.train), len(header.test)) == ((28, 28, 1), 60_000, 10_000)
    assert took["own"] + took["children"] < 1e9, took
