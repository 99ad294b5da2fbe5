"""The network is short enough to be read in one sitting, and needs nothing but NumPy."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import snn

PACKAGE = Path(snn.__file__).parent
TOLD = (snn.__doc__ or "").split("in this order: ")[1].split(".")[0]
LIST = re.findall(r"\w+", re.sub(r"\(.*?\)|\band\b", "", TOLD, flags=re.DOTALL))


def imported(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.split(".")[0] for name in names}


def test_the_network_is_read_in_one_sitting() -> None:
    assert LIST == ["activations", "layers", "losses", "network", "here", "training"]
    lines = {name: len((PACKAGE / f"{name}.py").read_text().splitlines()) for name in LIST}
    assert sum(lines.values()) <= 600, lines


def test_it_needs_nothing_but_numpy_to_compute_and_pydantic_to_be_asked() -> None:
    beyond = {
        "snn",
        "numpy",
        "__future__",
        "collections",
        "dataclasses",
        "enum",
        "functools",
        "itertools",
        "math",
        "typing",
    }
    allowed = {"recipe.py": {"pydantic", "difflib"}, "optimizers.py": {"annotated_types"}}
    allowed |= {"schedules.py": {"annotated_types"}, "augmentation.py": {"annotated_types"}}
    for file in PACKAGE.glob("*.py"):
        assert imported(file) <= beyond | allowed.get(file.name, set()), file.name


def test_there_is_one_way_back() -> None:
    """Only `network.walk` knows the order of the layers on the way back; others compute single layers for it."""
    reversed_loops = [
        file.relative_to(PACKAGE.parent).as_posix()
        for package in ("snn", "snn_cloud", "snn_data")
        for file in (PACKAGE.parent / package).rglob("*.py")
        if re.search(r"range\(layers, 0, -1\)|reversed\(.*layers", file.read_text())
    ]
    assert reversed_loops == ["snn/network.py"]
