"""The walls of the house: who may import whom. Every import counts, also those in functions and those for types."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import snn
import snn_cli
import snn_client
import snn_cloud
import snn_data
import snn_operators
import snn_photos

OURS = snn, snn_data, snn_photos, snn_cloud, snn_client
PACKAGES = {package.__name__: Path(package.__path__[0]) for package in OURS}
DOORS = {package.__name__: Path(package.__path__[0]) for package in (snn_cli, snn_operators)}
# From the bottom. A module imports from its own room and from those before it.
FLOORS = (
    "snn",
    "snn_data",
    "snn_photos",
    "snn_cloud.aws",
    "snn_cloud.ledger",
    "snn_cloud.features",
    "snn_cloud.neurons",
    "snn_cloud.cost",
    "snn_cloud.registry",
    "snn_cloud.launch",
    "snn_cloud.train",
    "snn_cloud.serve",
    "snn_cloud.announce",
    "snn_client.tables",
    "snn_client.data",
    "snn_client.stack",
    "snn_client.backbones",
    "snn_client.runs",
    "snn_client.judging",
    "snn_client.portable",
    "snn_client.reports",
    "snn_client.models",
    "snn_client.drift",
    "snn_client.serving",
    "snn_client.sweeps",
    "snn_client.microscope",
    "snn_client.look",
    "snn_cli",
    "snn_operators",
)
FOREIGN = {
    "snn": {"airflow", "boto3", "botocore", "h5py", "redis"},
    "snn_data": {"airflow", "boto3", "botocore", "redis"},
    "snn_photos": {"airflow", "boto3", "botocore", "h5py", "redis"},
    "snn_cloud": {"airflow", "PIL", "jinja2", "rich", "sklearn", "typer"},
    "snn_client": {"airflow", "rich", "typer"},
}


def modules() -> dict[str, Path]:
    found = {}
    for package, folder in {**PACKAGES, **DOORS}.items():
        for file in folder.rglob("*.py"):
            parts = file.relative_to(folder).with_suffix("").parts
            found[".".join([package, *parts]).removesuffix(".__init__")] = file
    return found


MODULES = modules()


def imports(file: Path) -> set[str]:
    """Return all that a file imports, a module of ours by its full name."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, file
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= full & MODULES.keys() or {node.module or ""}
            found |= {node.module or ""} if full - MODULES.keys() else set()
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def room(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] in ("snn_cloud", "snn_client") else parts[0]


GRAPH = {name: (imports(file) & MODULES.keys()) - {name} for name, file in MODULES.items()}


def test_every_module_stands_in_a_room() -> None:
    lone = {name for name in MODULES if room(name) not in FLOORS} - {"snn_cloud", "snn_client"}
    assert lone == set()
    assert {room(name) for name in MODULES} - {"snn_cloud", "snn_client"} == set(FLOORS)
    assert sum(map(len, GRAPH.values())) > 300, "the graph has not been read"


def test_no_import_goes_up() -> None:
    height = {name: number for number, name in enumerate(FLOORS)}
    height["snn_operators"] = height["snn_cli"]  # neighbours
    up = {
        f"{name} -> {other}"
        for name, others in GRAPH.items()
        for other in others
        if other not in PACKAGES and room(name) in height and height[room(other)] > height[room(name)]
    }
    assert up == set()
    across = {(room(name), room(other)) for name, others in GRAPH.items() for other in others}
    assert ("snn_operators", "snn_cli") not in across


def test_there_is_no_circle() -> None:
    list(TopologicalSorter(GRAPH).static_order())  # raises CycleError, which names it


@pytest.mark.parametrize("package", FOREIGN)
def test_what_a_package_knows_nothing_of(package: str) -> None:
    for name, file in MODULES.items():
        if name.split(".")[0] == package:
            assert {other.split(".")[0] for other in imports(file)} & FOREIGN[package] == set(), name


def test_no_room_is_a_hall() -> None:
    rooms = [room(name) for name in MODULES if name.startswith(("snn_cloud", "snn_client"))]
    assert max(rooms.count(one) for one in set(rooms)) <= 17  # snn_client.stack, with its __init__
