"""`make notebooks`: execute the notebooks on the machine without AWS and write them back with what they show."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from snn_cli.datasets import build_faces, sample_images
from snn_cli.local import emulator
from snn_client.data.staging import stage
from snn_client.reports.contents import Report
from snn_client.reports.predicting import predict_images
from snn_client.reports.report import evaluate_run, make_report
from snn_client.runs import runs
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.parameters import Parameters

FOLDER = Path(__file__).parent
NAMES = ("Introduction", "Codebook", "Analysis")
CELL_SECONDS = 300
RUN = "notebook-faces"  # what Analysis shows


def execute(name: str, environment: Mapping[str, str]) -> Any:
    """Return a notebook with the outputs of its cells, run from top to bottom in a fresh kernel.

    `environment` is added to that of this process. Raises nbclient's CellExecutionError for the first cell that fails.
    """
    book = read(name)
    with tempfile.TemporaryDirectory(prefix="snn-notebook-") as scratch:
        kernel = AsyncKernelManager(
            kernel_name="python3",
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),  # this interpreter, whatever others are installed
            connection_file=str(Path(scratch) / "kernel.json"),
            transport="ipc",  # sockets in the scratch folder, closed to others
        )
        # Nothing goes to the user's own folders. One BLAS thread, as in Lambda, so that last digits do not vary.
        own = {
            "IPYTHONDIR": scratch,
            "MPLCONFIGDIR": str(FOLDER.parent / ".local" / "matplotlib"),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        client = NotebookClient(
            book,
            km=kernel,
            timeout=CELL_SECONDS,
            record_timing=False,
            coalesce_streams=True,  # or how text is cut would depend on when it came
            resources={"metadata": {"path": str(FOLDER)}},
        )
        client.execute(env={**os.environ, **environment, **own}, cleanup_kc=True)
    book.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "executed_sources": sources(book),
    }
    return book


def read(name: str) -> Any:
    """Return the notebook of this name as it lies in this folder."""
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]


def sources(book: Any) -> str:
    """Return a digest of what stands in a notebook's cells: it tells whether outputs are those of these sources."""
    return hashlib.sha256("\0".join(f"{cell.cell_type}\n{cell.source}" for cell in book.cells).encode()).hexdigest()


def figures(book: Any) -> dict[str, Any]:
    """Return what the cell tagged `figures` printed: the numbers that an executed notebook came to."""
    (cell,) = (cell for cell in book.cells if "figures" in cell.metadata.get("tags", ()))
    numbers: dict[str, Any] = json.loads("".join(output.text for output in cell.outputs))
    return numbers


def finished_run(
    clients: Clients, stack: StackOutputs, run_id: str, dataset: Path, parameters: Parameters, photos: list[Path]
) -> Report:
    """Train a network in Lambda, judge it and ask it about photos, and return the report: what `Analysis` reads."""
    staged = stage(clients, stack.bucket, run_id, dataset, parameters, photos)
    runs.launch(clients, stack, run_id, staged.dataset_key, parameters)
    run = runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.2, limit_seconds=600)
    judged = evaluate_run(clients, stack.bucket, run_id, staged.dataset_key)
    answers = predict_images(clients, stack.bucket, run_id, staged.images)
    return make_report(clients, stack, run, judged, answers, staged.images)


def main() -> None:
    """Start the emulator if it does not run, train a network on the faces, execute all, and write them back."""
    home = Path(os.environ.get("SNN_LOCAL_HOME", ".local"))
    found = emulator.find(home.resolve())
    running = found or emulator.up(home)
    try:
        os.environ |= {**running.environment(), "SNN_LOCAL_HOME": str(home.resolve())}
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "SNN_DATASET"):
            os.environ.pop(name, None)
        clients = Clients.from_environment()
        stack = deploy_stack(clients, StackOptions.from_environment())
        with tempfile.TemporaryDirectory() as scratch:
            faces, photos = Path(scratch) / "faces.h5", sample_images(Path(scratch) / "photos")
            build_faces(faces)
            parameters = Parameters.load(FOLDER.parent / "dags" / "parameters.json")
            finished_run(clients, stack, RUN, faces, parameters, photos)
        for name in NAMES:
            book = execute(name, {"SNN_RUN_ID": RUN})
            nbformat.write(book, FOLDER / f"{name}.ipynb")  # type: ignore[no-untyped-call]
            print(f"{name} executed")
    finally:
        if not found:
            emulator.down(home)


if __name__ == "__main__":
    main()
