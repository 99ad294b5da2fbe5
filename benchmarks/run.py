"""`make bench`: measure everything side by side, in one run, and write results.json, the report and the plots."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import compare, features, growth, host, keeping, learning, page, problem, report, session
from benchmarks.competitors import Competitors
from benchmarks.dag import dag
from benchmarks.serverless import Serverless, machine

LOCAL = problem.ROOT / ".local"
HERE = Path(__file__).parent
console = Console()

Measure = Callable[[session.Session], dict[str, Any]]
# In this order: what comes first finds the machine at its quietest. The number is the steps of a repetition, for the
# progress bar; growth says its own.
MEASURES: dict[str, Measure] = {
    "full_batch": compare.full_batch,
    "best_batch": compare.best_batch,
    "average": compare.average,
    "granularity": compare.granularities,
    "workers": compare.workers,
    "growth": growth.growth,
    "mnist": learning.mnist,
    "cifar10": learning.cifar10,
    "cats": learning.cats,
    "strategies": learning.strategies,
    "digits": learning.digits,
    "sharing": learning.sharing,
    "features": features.features,
    "keeping": keeping.keeping,
    "page": page.page,
    "dag": dag,
}


def main(
    quick: Annotated[bool, typer.Option("--quick", help="small sizes, one repetition: does it work?")] = False,
    only: Annotated[str, typer.Option(help=f"parts, with commas: {', '.join(MEASURES)}")] = "",
    repetitions: Annotated[int, typer.Option(min=1, help="of every contestant, in turn")] = 3,
    keep: Annotated[
        bool, typer.Option("--keep", help="with --only: put the parts among those measured before")
    ] = False,
) -> None:
    """Measure, and write benchmarks/results.json, README.md and the plots beside it.

    A quick or partial run writes to .local/bench/partial instead, unless its parts are to be kept. What is measured is
    written after every part.
    """
    chosen = [part.strip() for part in only.split(",") if part.strip()] or list(MEASURES)
    if unknown := set(chosen) - set(MEASURES):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: known are {', '.join(MEASURES)}")
    whole = not quick and (keep or set(chosen) == set(MEASURES))
    folder = LOCAL / "bench" if whole else LOCAL / "bench" / "partial"
    place = HERE if whole else folder
    folder.mkdir(parents=True, exist_ok=True)
    repetitions = 1 if quick else repetitions
    results: dict[str, Any] = {"quick": quick, "machine": host.describe(), "parts": {}}
    if keep and (place / "results.json").exists():
        results = json.loads((place / "results.json").read_text()) | {"machine": host.describe()}
    competitors = Competitors(LOCAL / "bench-venv")
    with console.status("installing the competitors …"):
        competitors.install()
    for name, why in competitors.missing.items():
        console.print(f"[yellow]without {name}: {why}[/]")
    work = Path(tempfile.mkdtemp(prefix="work-", dir=folder))
    try:
        with machine(folder / "machine", LOCAL / "emulator-venv") as serverless, _progress() as progress:
            for _ in _measure(chosen, results, work, serverless, competitors, progress, repetitions, quick):
                _write(results, place, competitors)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _show(results)
    console.print(f"results  {place / 'results.json'}", f"report   {place / 'README.md'}", sep="\n", soft_wrap=True)
    if failed := [part for part in chosen if "error" in results.get(part, {})]:
        console.print(f"[red]failed: {', '.join(failed)}[/]")
        raise typer.Exit(1)


def _measure(
    chosen: list[str],
    results: dict[str, Any],
    work: Path,
    serverless: Serverless,
    competitors: Competitors,
    progress: Progress,
    repetitions: int,
    quick: bool,
) -> Iterator[str]:
    """Measure the chosen parts, and yield each as soon as it is in the results."""
    dataset, name = problem.photos(work)
    results["data"] = problem.describe(dataset, name)
    if name != "itsacat":
        progress.console.print("[yellow]itsacat's data are not here: measuring on the faces[/]")
    plain, seconds = serverless.deploy("snn-bench", with_cache=False)
    cached, _ = serverless.deploy("snn-bench-cache", with_cache=True)
    results["deploy_seconds"] = seconds
    steps = {
        "growth": 3 if quick else 6,
        "dag": repetitions + 1,
        "mnist": repetitions + 1,
        "cifar10": 1,
        "strategies": 4,
    }
    steps |= {"cats": 2 if quick else 10, "digits": 1, "sharing": 2 if quick else 5, "keeping": len(keeping.JOBS)}
    task = progress.add_task("", total=sum(steps.get(part, repetitions) for part in chosen))
    with_everything = session.Session(
        folder=work,
        dataset=dataset,
        serverless=serverless,
        plain=plain,
        cached=cached,
        competitors=competitors,
        say=lambda line: progress.console.print(f"  {line}", markup=False, highlight=False),
        step=lambda: progress.advance(task),
        repetitions=repetitions,
        quick=quick,
        cores=os.cpu_count() or 1,
        results=results,
    )
    for part in chosen:
        progress.update(task, description=part.replace("_", " "))
        began, about = (
            time.monotonic(),
            {"load_before": host.load(), "repetitions": repetitions, "cpu": host.describe()["cpu"]},
        )
        try:
            found = MEASURES[part](with_everything)
            if part == "granularity":
                results |= found  # neuron, layer and batch
            else:
                results[part] = found
            if part == "growth":
                results["memory"] = growth.memory(with_everything)
        except Exception as error:  # one part that cannot be measured does not spoil the others
            results[part] = {"error": f"{type(error).__name__}: {error}"}
            progress.console.print(f"[red]{part}: {type(error).__name__}: {error}[/]")
        about["measured"] = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        results["parts"][part] = {**about, "minutes": (time.monotonic() - began) / 60}
        _note_versions(results)
        yield part


def _note_versions(results: dict[str, Any]) -> None:
    columns = results.get("full_batch", {}).get("columns", {})
    wanted = {"PyTorch": "torch-float32", "scikit-learn": "scikit-learn"}
    results["versions"] = {name: columns[key]["version"] for name, key in wanted.items() if key in columns}


def _write(results: dict[str, Any], place: Path, competitors: Competitors) -> None:
    results["goals"] = report.goals(results)
    session.save(results, place / "results.json")
    plots = _plot(competitors, place / "results.json", place)
    (place / "README.md").write_text(report.render(results, plots))


def _progress() -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console)


def _plot(competitors: Competitors, results: Path, place: Path) -> list[str]:
    command = [str(competitors.venv / "bin/python"), str(HERE / "plots.py"), str(results), str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        console.print(f"[yellow]without plots: {error}[/]")
        return []
    if done.returncode:
        console.print(f"[yellow]without plots: {(done.stderr.strip().splitlines() or ['?'])[-1]}[/]")
    return done.stdout.split()


def _show(results: dict[str, Any]) -> None:
    table = Table("key", "measured", "goal", "")
    words = {True: "[green]met[/]", False: "[red]not met[/]", None: "[dim]not measured[/]"}
    for goal in results["goals"]:
        value = report.number(goal["value"])
        table.add_row(goal["key"], value, goal["goal"], words[goal["met"]])
    for key in ("dag.overhead_seconds", "memory.peak_mb", "memory.grown_peak_mb", "money.neuron_usd"):
        table.add_row(key, report.number(report.lookup(results, key)), "", "")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
