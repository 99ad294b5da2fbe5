"""`make mwaa`: its output installed as Amazon's managed Airflow would, in an environment that has nothing else of ours.

Amazon publishes how its images are built: Airflow with Celery, the amazon and fab providers, all by Airflow's
constraints; and how they install requirements.txt: in one go with those, so that what does not fit is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from snn.errors import InvalidInput
from snn_cli import mwaa
from snn_client.stack.package import function_zip, templates
from snn_client.stack.wheel import PROJECT, wheel

ROOT = Path(__file__).parents[2]
UV = ROOT / ".venv" / "bin" / "uv"
CONSTRAINTS = Path(__file__).with_name("mwaa_constraints.txt")  # what stands under mwaa.constraints(mwaa.AIRFLOW)
IMAGE = [
    f"apache-airflow[celery,statsd]=={mwaa.AIRFLOW}",
    "apache-airflow-providers-amazon[aiobotocore]",
    "apache-airflow-providers-fab",
]

# Run in the environment: what Airflow makes of it.
LOOK = """
import hashlib, importlib.util, json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow import plugins_manager
bag = DagBag()
plugins, failures = plugins_manager._get_plugins()
import snn, snn_cli, snn_cloud, snn_handlers, snn_notebooks, snn_operators, snn_templates
from snn_client.stack.package import function_zip, templates
ours = (snn, snn_cli, snn_cloud, snn_handlers, snn_notebooks, snn_operators, snn_templates)
print(json.dumps({
    "dags": sorted(bag.dags), "dag failures": bag.import_errors,
    "tasks": {name: sorted(dag.task_ids) for name, dag in bag.dags.items()},
    "plugins": [(plugin.name, str(plugin.source)) for plugin in plugins if plugin.name == "snn"],
    "plugin failures": plugins_manager.get_import_errors(),
    "files": [module.__file__ for module in ours], "path": sys.path,
    "code": hashlib.sha256(function_zip()).hexdigest(), "templates": sorted(templates()),
    "strays": [name for name in ("benchmarks", "oracle", "tests", "neuron") if importlib.util.find_spec(name)],
}))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make mwaa` made."""
    target = tmp_path_factory.mktemp("dist") / "mwaa"
    subprocess.run(["make", "--no-print-directory", "mwaa", f"MWAA={target}"], cwd=ROOT, check=True)
    return target


@pytest.fixture(scope="module")
def home(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as MWAA's /usr/local/airflow: dags/, plugins/ with plugins.zip unpacked, and requirements.txt.

    Requirements and constraints point here, in place of MWAA's folder and Airflow's server.
    """
    home = tmp_path_factory.mktemp("airflow")
    (built / "dags").rename(home / "dags")
    with zipfile.ZipFile(built / "plugins.zip") as plugins:
        plugins.extractall(home / "plugins")
    text = (built / "requirements.txt").read_text()
    published = mwaa.constraints(mwaa.AIRFLOW)
    assert text.count(mwaa.PLUGINS) == text.count(published) == 1
    text = text.replace(mwaa.PLUGINS, str(home / "plugins")).replace(published, str(CONSTRAINTS))
    (home / "requirements.txt").write_text(text)
    (home / "image.txt").write_text("\n".join(IMAGE))
    return home


def uv(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    return subprocess.run([UV, *arguments], capture_output=True, text=True, check=False, env=environment)


def pins(text: str) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==([\w.]+)", text, flags=re.M)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def test_it_is_one_wheel_two_pins_and_the_dags(built: Path, home: Path) -> None:
    name, content = wheel()
    with zipfile.ZipFile(built / "plugins.zip") as plugins:
        assert plugins.namelist() == [name]
        assert hashlib.sha256(plugins.read(name)).hexdigest() == hashlib.sha256(content).hexdigest()
    comment, constraint, *lines = (built / "requirements.txt").read_text().splitlines()
    assert comment == "# MWAA with Airflow 3.3.1"
    assert constraint == (
        '--constraint "https://raw.githubusercontent.com/apache/airflow/constraints-3.3.1/constraints-3.12.txt"'
    )
    locked = pins((ROOT / "requirements" / "dev.txt").read_text())
    pinned = [f"{name}=={locked[name]}" for name in ("h5py", "pillow", "pyarrow")]
    assert lines == [*pinned, f"/usr/local/airflow/plugins/{name}"]
    here = {path.name: path.read_bytes() for path in (ROOT / "dags").glob("*.*")}
    assert {path.name: path.read_bytes() for path in (home / "dags").iterdir()} == here


def test_an_older_image_has_its_own_constraints_and_one_that_is_not_there_is_refused(tmp_path: Path) -> None:
    mwaa.build(tmp_path / "older", ROOT / "dags", "3.1.6")
    assert (tmp_path / "older" / "requirements.txt").read_text().splitlines()[:2] == [
        "# MWAA with Airflow 3.1.6",
        '--constraint "https://raw.githubusercontent.com/apache/airflow/constraints-3.1.6/constraints-3.13.txt"',
    ]
    with pytest.raises(InvalidInput, match=r"^AIRFLOW: '2.10.3' is not possible .use one of 3.3.1, 3.2.1, 3.1.6.$"):
        mwaa.build(tmp_path / "none", ROOT / "dags", "2.10.3")
    assert not (tmp_path / "none").exists()


def test_the_same_sources_give_the_same_zip(built: Path, tmp_path: Path) -> None:
    mwaa.build(tmp_path / "again", ROOT / "dags")
    again, before = ((folder / "plugins.zip").read_bytes() for folder in (tmp_path / "again", built))
    assert hashlib.sha256(again).hexdigest() == hashlib.sha256(before).hexdigest()


def test_it_fits_with_airflows_constraints_on_mwaas_python_and_leaves_nothing_open(home: Path) -> None:
    done = uv(
        "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links",
        "--python-version", mwaa.IMAGES[mwaa.AIRFLOW], "--python-platform", "x86_64-manylinux_2_28",
        "--only-binary", ":all:", home / "image.txt", home / "requirements.txt",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    installed, allowed = pins(done.stdout), pins(CONSTRAINTS.read_text())
    airflow = {"apache-airflow", "apache-airflow-core", "apache-airflow-task-sdk"}
    assert set(installed) - set(allowed) - airflow == set(mwaa.UNCONSTRAINED)
    assert {name: installed[name] for name in set(installed) & set(allowed)} == {
        name: allowed[name] for name in set(installed) & set(allowed)
    }
    assert installed["apache-airflow"] == mwaa.AIRFLOW
    assert f"{PROJECT.replace('-', '_')}-" in done.stdout


def test_airflow_imports_the_dags_and_finds_the_plugin_once(home: Path) -> None:
    assert uv("venv", "--quiet", home / "venv").returncode == 0
    python = home / "venv" / "bin" / "python"
    done = uv(
        "pip", "install", "--quiet", "--python", python, "-r", home / "image.txt", "-r", home / "requirements.txt"
    )
    assert done.returncode == 0, done.stderr
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": str(home), "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }  # fmt: skip
    done = subprocess.run(
        [python, "-P", "-c", LOOK], cwd=home, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert (seen["dag failures"], seen["plugin failures"], seen["strays"]) == ({}, {}, [])
    assert seen["dags"] == ["snn_batch_predict", "snn_cleanup", "snn_retraining", "snn_sweep", "snn_training"]
    assert seen["tasks"]["snn_training"] == ["deploy", "evaluate", "predict", "report", "stage", "train"]
    ((_, source),) = seen["plugins"]
    assert source.startswith(
        f"{PROJECT}=="
    )  # an entry point's; of a file in the plugins folder it is $PLUGINS_FOLDER/…
    site = str(next((home / "venv" / "lib").glob("python3*/site-packages")))
    assert [file for file in seen["files"] if not file.startswith(site)] == []
    assert [entry for entry in seen["path"] if str(ROOT) in entry] == []
    # What it would deploy from there is what we would deploy from here.
    assert seen["code"] == hashlib.sha256(function_zip()).hexdigest()
    assert seen["templates"] == sorted(templates())
