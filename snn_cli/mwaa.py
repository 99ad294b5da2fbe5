"""`make mwaa`: what Amazon's managed Airflow (MWAA) runs the DAGs from, to be copied into its bucket.

    plugins.zip        our wheel and nothing else; MWAA unpacks it in its plugins folder
    requirements.txt   installs the wheel from there
    dags/              the DAGs, and the parameters they start from

Airflow finds the plugin by the wheel's entry point. There is no module in the plugins folder, where it would find it a
second time.
"""

from __future__ import annotations

import shutil
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

from snn.errors import InvalidInput
from snn_client.stack.wheel import wheel

AIRFLOW, PYTHON = "3.3.1", "3.12"  # the newest that MWAA has an image for
PLUGINS = "/usr/local/airflow/plugins"
CONSTRAINTS = f"https://raw.githubusercontent.com/apache/airflow/constraints-{AIRFLOW}/constraints-{PYTHON}.txt"
# What we need and Airflow's constraints do not name; all else is as in the image, so that nothing in it is replaced.
UNCONSTRAINED = ("h5py", "pillow")


def build(target: Path, dags: Path) -> None:
    """Write all three into `target`, anew. Raises InvalidInput if that holds anything else: nothing is touched then."""
    sources = [*dags.glob("*.py"), *dags.glob("*.json")]
    ours = {"plugins.zip", "requirements.txt", *(f"dags/{file.name}" for file in sources)}
    held = {path.relative_to(target).as_posix() for path in target.rglob("*") if not path.is_dir()}
    if (target.exists() and not target.is_dir()) or held - ours:
        raise InvalidInput(
            f"holds {min(held - ours)}" if held else "is not a folder",
            field="MWAA", source=str(target), hint="name a separate folder: its contents are replaced",
        )  # fmt: skip
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    name, content = wheel()
    with zipfile.ZipFile(target / "plugins.zip", "w") as plugins:
        plugins.writestr(zipfile.ZipInfo(name), content)  # dated 1980: the same contents, the same bytes
    (target / "requirements.txt").write_text(requirements(name))
    (target / "dags").mkdir()
    for file in sources:
        shutil.copyfile(file, target / "dags" / file.name)


def requirements(wheel_name: str) -> str:
    """Return requirements.txt. It has no hashes, as MWAA installs packages of its own in the same breath."""
    pins = [f"{package}=={version(package)}" for package in UNCONSTRAINED]
    return "\n".join([f"# MWAA with Airflow {AIRFLOW}", f'--constraint "{CONSTRAINTS}"', *pins,
                      f"{PLUGINS}/{wheel_name}", ""])  # fmt: skip


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]), Path(sys.argv[2]))
    except InvalidInput as problem:
        sys.exit(f"error: {problem}")
