"""`make test-airflow`: what drives Airflow, run with other releases of it, each in an environment of its own.

An environment is resolved with the project: the lock's versions, where the wanted Airflow allows them. ``3.2`` is the
newest 3.2.x.

    python tests/airflow_versions.py VERSION... [-- arguments for pytest in place of TESTS, without the demo]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCAL, UV = ROOT / ".local", ROOT / ".venv" / "bin" / "uv"
LOCK = ROOT / "requirements" / "dev.txt"
EXTRAS = ("airflow", "demo", "dev", "lineage")
TESTS = (
    "tests/unit/operators",
    "tests/integration/test_operators.py",
    "tests/integration/test_new_data.py",
    "tests/e2e",
)


def environment(version: str) -> Path:
    """Return the Python of an environment with that Airflow; it is made unless it is there, as resolved for the lock.

    Raises CalledProcessError when the project does not go with that version.
    """
    venv, pins = LOCAL / f"airflow-{version}-venv", LOCAL / f"airflow-{version}.txt"
    python, made_for = venv / "bin" / "python", venv / "made-for"
    wanted = LOCK.read_text() + (ROOT / "pyproject.toml").read_text()
    if made_for.exists() and made_for.read_text() == wanted:
        return python
    LOCAL.mkdir(exist_ok=True)
    shutil.copyfile(LOCK, pins)  # uv keeps the versions in the file that it writes, where it can
    exact = version if version.count(".") > 1 else f"{version}.*"
    extras = [argument for extra in EXTRAS for argument in ("--extra", extra)]
    _uv("pip", "compile", "pyproject.toml", *extras, "--constraint", "-", "--python", ROOT / ".venv/bin/python",
        "--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--output-file", pins,
        given=f"apache-airflow=={exact}")  # fmt: skip
    _uv("venv", "--clear", "--python", ROOT / ".venv/bin/python", venv)
    _uv("pip", "sync", "--require-hashes", "--python", python, pins)
    _uv("pip", "install", "--no-deps", "--python", python, "--editable", ".")
    made_for.write_text(wanted)
    return python


def installed(python: Path) -> str:
    """Return the release of Airflow in an environment."""
    code = "from importlib.metadata import version; print(version('apache-airflow'))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def run(version: str, arguments: list[str]) -> bool:
    """Run the tests with a release of Airflow, and the demo's DAG run; return whether all went well."""
    python = environment(version)
    print(f"Airflow {installed(python)}", flush=True)
    tests = subprocess.run([python, "-m", "pytest", *(arguments or TESTS)], cwd=ROOT, check=False)
    return tests.returncode == 0 and (bool(arguments) or demo(python, LOCAL / f"airflow-{version}"))


def demo(python: Path, home: Path) -> bool:
    """Run what `make demo` runs, and stop its servers; return whether its DAG run succeeded."""
    snn = python.with_name("snn")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("SNN_")}
    try:
        return subprocess.run([snn, "local", "demo", "--home", home], cwd=ROOT, env=variables).returncode == 0
    finally:
        subprocess.run([snn, "local", "down", "--home", home], cwd=ROOT, env=variables, check=True)


def _uv(*arguments: str | Path, given: str = "") -> None:
    variables = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    subprocess.run([UV, "--quiet", *arguments], cwd=ROOT, env=variables, input=given, text=True, check=True)


if __name__ == "__main__":
    versions, _, rest = " ".join(sys.argv[1:]).partition("--")
    results = {version: run(version, rest.split()) for version in versions.split()}
    for version, well in results.items():
        print(f"Airflow {installed(environment(version))}: {'all well' if well else 'FAILED'}")
    sys.exit(not all(results.values()))
