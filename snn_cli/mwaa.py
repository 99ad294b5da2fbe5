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

IMAGES = {"3.3.1": "3.12", "3.2.1": "3.12", "3.1.6": "3.13"}  # MWAA's that we go with, and their Python; newest first
AIRFLOW = next(iter(IMAGES))
PLUGINS = "/usr/local/airflow/plugins"
# What we need and Airflow's constraints do not name; all else is as in the image, so that nothing in it is replaced.
UNCONSTRAINED = ("h5py", "pillow", "pyarrow")


def build(target: Path, dags: Path, airflow: str = AIRFLOW) -> None:
    """Write all three into `target`, anew, for a release of Airflow.

    Raises InvalidInput if `target` holds anything else, or if the release is none of IMAGES: nothing is touched then.
    """
    if airflow not in IMAGES:
        raise InvalidInput(f"{airflow!r} is not possible", field="AIRFLOW", hint=f"use one of {', '.join(IMAGES)}")
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
    (target / "requirements.txt").write_text(requirements(name, airflow))
    (target / "dags").mkdir()
    for file in sources:
        shutil.copyfile(file, target / "dags" / file.name)


def constraints(airflow: str) -> str:
    """Return where the versions stand that Amazon builds its image with."""
    return f"https://raw.githubusercontent.com/apache/airflow/constraints-{airflow}/constraints-{IMAGES[airflow]}.txt"


def requirements(wheel_name: str, airflow: str) -> str:
    """Return requirements.txt. It has no hashes, as MWAA installs packages of its own in the same step."""
    pins = [f"{package}=={version(package)}" for package in UNCONSTRAINED]
    return "\n".join([f"# MWAA with Airflow {airflow}", f'--constraint "{constraints(airflow)}"', *pins,
                      f"{PLUGINS}/{wheel_name}", ""])  # fmt: skip


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
    except InvalidInput as problem:
        sys.exit(f"error: {problem}")
