"""What is uploaded to Lambda: complete, no more than needed, and the same bytes for the same contents."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from onnx import TensorProto, helper
from PIL import Image

import snn_cloud
from snn_client.stack import layer as layers
from snn_client.stack import options as stack_options
from snn_client.stack import package
from snn_client.stack.wheel import PROJECT, wheel
from snn_cloud.aws.errors import CloudError

RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
MACHINE = "arm64" if os.uname().machine in ("arm64", "aarch64") else "x86_64"

# Imports a handler with nothing on the path but the zip (and the packages given), where some packages do not exist.
IMPORT = """
import sys
handler, blocked, path = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]
class Missing:
    def find_spec(self, name, *_):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Missing())
sys.path[:0] = path
module = __import__(handler)
assert callable(module.handler)
assert module.__file__.startswith(path[0]), module.__file__
"""


@pytest.fixture(scope="module")
def code() -> bytes:
    return package.function_zip()


def layer_here(kind: layers.Layer) -> Path:
    """Return a layer for this interpreter, from where deployments keep it: built only if it is not there yet."""
    if RUNTIME not in stack_options.RUNTIMES or sys.platform != "linux":
        pytest.skip(f"Lambda has no {RUNTIME} on {sys.platform}")
    return layers.layer_zip(kind, RUNTIME, MACHINE)


@pytest.fixture(scope="module")
def layer() -> Path:
    return layer_here(layers.DEPENDENCIES)


@pytest.fixture(scope="module")
def feature_layer() -> Path:
    return layer_here(layers.FEATURES)


def run_isolated(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-I", "-S", "-c", *arguments], capture_output=True, text=True, check=False)


def site_packages() -> str:
    return str(Path(pytest.__file__).parents[1])


def test_the_function_zip_is_the_same_twice(code: bytes) -> None:
    assert package.function_zip() == code
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        assert [entry.filename for entry in archive.infolist()] == sorted(archive.namelist())
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o100644}


def test_the_function_zip_has_handlers_and_shared_packages_and_nothing_client_side(code: bytes) -> None:
    root = Path(snn_cloud.__file__).parents[1]
    shared = {
        path.relative_to(root).as_posix()
        for name in ("snn", "snn_data", "snn_photos", "snn_cloud")
        for path in (root / name).rglob("*.py")
    }
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        assert (
            set(archive.namelist())
            == {"launch.py", "trainer.py", "neuron.py", "features.py", "predict.py", "events.py"} | shared
        )
        assert archive.read("neuron.py") == (root / "neuron.py").read_bytes()


def test_nothing_in_the_zip_imports_what_lambda_has_not(code: bytes) -> None:
    """A module that does belongs in snn_client. Only what FeatureLambda or PredictLambda imports may need PIL."""
    there = {
        "snn",
        "snn_data",
        "snn_photos",
        "snn_cloud",
        "annotated_types",
        "boto3",
        "botocore",
        "h5py",
        "numpy",
        "pydantic",
        "redis",
        *sys.stdlib_module_names,
    }
    missing = set()
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        for name in archive.namelist():
            for node in ast.parse(archive.read(name)).body:  # only what importing the module imports
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                missing |= {(name, wanted) for wanted in names if wanted.split(".")[0] not in there}
    pictures = {(name, wanted) for name, wanted in missing if name.startswith("snn_photos/") and wanted == "PIL"}
    assert {name for name, _ in pictures} == {
        f"snn_photos/{name}.py" for name in ("backbone", "pictures", "preprocessing", "reading")
    }
    assert missing - pictures == set()


@pytest.mark.parametrize("handler", ["launch", "trainer", "neuron", "features", "predict", "events"])
def test_a_handler_needs_only_the_zip_and_the_layers_packages(tmp_path: Path, code: bytes, handler: str) -> None:
    archive = tmp_path / "code.zip"
    archive.write_bytes(code)
    absent = "airflow,jinja2,matplotlib,onnx,rich,scipy,skimage,sklearn,typer,uv"
    if handler in ("features", "predict"):  # they have layers of their own
        absent += (
            ",redis" if handler == "features" else ",redis,onnxruntime"
        )  # it loads backbones when a model needs one
    else:
        absent += ",PIL,onnxruntime"
    if handler == "neuron":  # invoked thousands of times: its cold start is everybody's
        absent += ",boto3,h5py,pydantic"
    done = run_isolated([IMPORT, handler, absent, str(archive), site_packages()])
    assert done.returncode == 0, done.stderr


def test_the_layer_serves_the_handlers_by_itself(tmp_path: Path, code: bytes, layer: Path) -> None:
    archive = tmp_path / "code.zip"
    archive.write_bytes(code)
    with zipfile.ZipFile(layer) as contents:
        contents.extractall(tmp_path)
    path = [str(archive), str(tmp_path / "python")]
    clients = f"""
import sys
sys.path[:0] = {path!r}
import launch, trainer, neuron
from snn_cloud.aws.clients import Clients
clients = Clients.from_environment()
for client in (clients.s3, clients.dynamodb, clients.lambda_, clients.sns, clients.sts):
    print(client.meta.endpoint_url)
import boto3, h5py, numpy, pydantic, redis
for module in (boto3, h5py, numpy, pydantic, redis):
    assert module.__file__.startswith({path[1]!r}), module.__file__
"""
    environment = {"AWS_DEFAULT_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", clients], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        "https://s3.eu-central-1.amazonaws.com",
        "https://dynamodb.eu-central-1.amazonaws.com",
        "https://lambda.eu-central-1.amazonaws.com",
        "https://sns.eu-central-1.amazonaws.com",
        "https://sts.eu-central-1.amazonaws.com",
    ]


def test_the_feature_layer_serves_its_handler_by_itself(tmp_path: Path, code: bytes, feature_layer: Path) -> None:
    """A photo is decoded and its features computed, with nothing there but the zip and the layer."""
    archive, network, photo = tmp_path / "code.zip", tmp_path / "mean.onnx", tmp_path / "grey.png"
    archive.write_bytes(code)
    with zipfile.ZipFile(feature_layer) as contents:
        contents.extractall(tmp_path)
    mean = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)],
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["m", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m", 3])],
    )
    model = helper.make_model(mean, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    network.write_bytes(model.SerializeToString())
    Image.new("RGB", (20, 10), (51, 102, 204)).save(photo)
    path = [str(archive), str(tmp_path / "python")]
    features = f"""
import sys
sys.path[:0] = {path!r}
import features
from snn_photos.backbone import Backbone
from snn_photos.pictures import open_picture
from snn_photos.preprocessing import Preprocessing
backbone = Backbone(open({str(network)!r}, "rb").read(), Preprocessing(height=8, width=8), "mean.onnx")
print(*(round(float(each), 6) for each in backbone.of(open_picture({str(photo)!r}))))
import boto3, h5py, numpy, onnxruntime, PIL, pydantic
for module in (boto3, h5py, numpy, onnxruntime, PIL, pydantic):
    assert module.__file__.startswith({path[1]!r}), module.__file__
"""
    environment = {"AWS_DEFAULT_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", features], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0.2 0.4 0.8\n"


@pytest.mark.parametrize(("kind", "most"), [(layers.DEPENDENCIES, 100_000_000), (layers.FEATURES, 200_000_000)])
def test_a_layer_leaves_out_what_no_function_uses(kind: layers.Layer, most: int, code: bytes) -> None:
    """Lambda takes 262,144,000 bytes, the code among them."""
    with zipfile.ZipFile(layer_here(kind)) as archive, zipfile.ZipFile(io.BytesIO(code)) as functions:
        names = archive.namelist()
        assert {name.split("/")[0] for name in names} == {"python"}
        unzipped = [sum(entry.file_size for entry in each.infolist()) for each in (archive, functions)]
    assert unzipped[0] < most
    assert sum(unzipped) < layers.MAX_UNZIPPED == 262_144_000
    described = [name.split("/") for name in names if name.startswith("python/botocore/data/")]
    assert {parts[3] for parts in described if len(parts) > 4} == layers.SERVICES
    assert not [name for name in names if "/tests/" in name or "__pycache__" in name or name.endswith(".pyi")]
    assert [name for name in names if name.startswith("python/numpy-") and name.endswith("/METADATA")]


def test_each_layer_has_what_its_functions_import_and_not_the_other_s() -> None:
    tops = {}
    for kind in (layers.DEPENDENCIES, layers.FEATURES):
        with zipfile.ZipFile(layer_here(kind)) as archive:
            tops[kind.name] = {name.split("/")[1] for name in archive.namelist()}
    both = {"boto3", "botocore", "h5py", "numpy", "pydantic"}
    assert both <= tops["dependency"] & tops["feature"]
    assert {"redis", "onnxruntime", "PIL"} & tops["dependency"] == {"redis"}
    assert {"redis", "onnxruntime", "PIL"} & tops["feature"] == {"onnxruntime", "PIL"}
    with zipfile.ZipFile(layer_here(layers.FEATURES)) as archive:
        inner = {tuple(name.split("/")[1:3]) for name in archive.namelist()}
    assert ("onnxruntime", "capi") in inner
    assert inner & set(layers.UNUSED) == set()


def test_a_layer_is_the_same_whenever_it_is_built(tmp_path: Path, layer: Path) -> None:
    lines: list[str] = []
    again = layers.layer_zip(layers.DEPENDENCIES, RUNTIME, MACHINE, tmp_path, lines.append)
    assert again.read_bytes() == layer.read_bytes()
    assert again.name == layer.name
    assert lines[0] == f"building the dependency layer for {RUNTIME} on {MACHINE}"
    assert [path.name for path in tmp_path.iterdir()] == [layer.name]
    assert layers.layer_zip(layers.DEPENDENCIES, RUNTIME, MACHINE, tmp_path, lines.append) == again
    assert len(lines) == 2  # taken from the cache without a word


def test_a_layers_name_tells_layers_runtimes_and_architectures_apart() -> None:
    keys = {
        layers.layer_key(kind, runtime, machine)
        for kind in (layers.DEPENDENCIES, layers.FEATURES)
        for runtime in stack_options.RUNTIMES
        for machine in layers.PLATFORMS
    }
    assert len(keys) == 2 * len(stack_options.RUNTIMES) * 2 == 16


@pytest.mark.parametrize("kind", [layers.DEPENDENCIES, layers.FEATURES])
def test_a_layer_that_cannot_be_built_is_one_line_and_leaves_nothing(
    kind: layers.Layer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    problem = rf"^the {kind.name} layer for python3\.13 on arm64 cannot be built: \S"
    with pytest.raises(CloudError, match=problem) as raised:
        layers.layer_zip(kind, "python3.13", "arm64", tmp_path / "layers")
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "layers").iterdir()) == []


def test_a_layer_too_large_for_lambda_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: Path) -> None:
    monkeypatch.setattr(layers, "MAX_UNZIPPED", 1_000_000)
    with pytest.raises(CloudError, match=r"has [\d,]+ bytes unzipped; Lambda takes 1,000,000"):
        layers.layer_zip(layers.DEPENDENCIES, RUNTIME, MACHINE, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_cache_can_be_put_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNN_CACHE_DIR", "/somewhere")
    assert layers.default_cache_dir() == Path("/somewhere")
    monkeypatch.delenv("SNN_CACHE_DIR")
    assert layers.default_cache_dir() == Path.home() / ".cache" / "snn"


def test_the_wheel_is_what_the_build_backend_makes_of_the_sources(tmp_path: Path) -> None:
    root = Path(package.__file__).parents[2]
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, tmp_path / name)
    for name in ("lambda_functions", "plugins", "cloudformation", "snn_client", "snn_cli", "notebooks"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    backend = "import setuptools.build_meta as backend; backend.build_wheel('dist')"
    done = subprocess.run([sys.executable, "-c", backend], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = (tmp_path / "dist").iterdir()
    name, content = wheel()
    assert name == built.name
    ours, theirs = _contents(content), _contents(built.read_bytes())
    info = f"{'-'.join(name.split('-')[:2])}.dist-info"
    # A licence is copied into a wheel when it is built, and the record lists it.
    assert set(theirs) - set(ours) == {f"{info}/licenses/LICENSE"}
    stale = "is what is installed older than README.md or pyproject.toml? (make install)"
    assert {path for path in ours if ours[path] != theirs[path]} == {f"{info}/RECORD"}, stale
    rows = ours[f"{info}/RECORD"].decode().splitlines()
    assert set(rows) == set(theirs[f"{info}/RECORD"].decode().splitlines()) - {
        row for row in theirs[f"{info}/RECORD"].decode().splitlines() if "/licenses/LICENSE," in row
    }
    assert wheel() == (name, content)


def test_a_wheel_is_of_what_is_installed_whatever_an_editable_installation_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An egg-info in the folder that Python runs in is found first, and has no metadata of a wheel."""
    name, content = wheel()
    left = tmp_path / f"{PROJECT.replace('-', '_')}.egg-info"
    left.mkdir()
    (left / "PKG-INFO").write_text(f"Metadata-Version: 2.4\nName: {PROJECT}\nVersion: 0.0.1\n")
    (left / "top_level.txt").write_text("nothing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert distribution(PROJECT).version == "0.0.1"
    again, made = wheel()
    assert again == name
    assert hashlib.sha256(made).hexdigest() == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("part", ["README.md", "pyproject.toml"])
def test_what_the_wheel_s_metadata_are_made_of_is_installed_anew_when_it_changes(part: str) -> None:
    root = Path(package.__file__).parents[2]
    command = ["make", "--dry-run", f"--what-if={part}", "install"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert "pip install --quiet --no-deps --no-build-isolation --python .venv/bin/python --editable ." in done.stdout


def test_the_wheel_has_nothing_that_an_editor_hides_beside_the_notebooks(tmp_path: Path) -> None:
    (tmp_path / ".ipynb_checkpoints").mkdir()
    for name in ("Analysis.ipynb", ".ipynb_checkpoints/Analysis-checkpoint.ipynb", ".Analysis.ipynb"):
        (tmp_path / name).write_text("{}")
    assert [name for name, _ in package.files_of(tmp_path, "snn_notebooks")] == ["snn_notebooks/Analysis.ipynb"]


def _contents(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {entry: opened.read(entry) for entry in opened.namelist()}
