"""Writes the tables of load into docs/reliability.md, from what `make test-load` and `make soak` have measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any, NamedTuple

from load.tally import ENDPOINT, LOAD, SOAK
from reliability import ROOT, measured, put

LOAD_MARKS = "<!-- load: make test-load writes it -->", "<!-- end of load -->"
ENDPOINT_MARKS = "<!-- endpoint: make test-load writes it -->", "<!-- end of the endpoint -->"
SOAK_MARKS = "<!-- soak: make soak writes it -->", "<!-- end of the soak -->"
FUNCTIONS = "LaunchLambda", "TrainerLambda", "NeuronLambda"
MARKS = {"two trainers": 7, "two trainers, continued": 3 * 7}  # at most; all other kinds leave nothing in the cache

Sample = Mapping[str, Any]


class Row(NamedTuple):
    """A figure of every sample; by how much its median in the last third may be above that in the first."""

    name: str
    of: Callable[[Sample], float]
    slack: float | None = None
    digits: int = 0


def _server(server: str, figure: str, slack: float | None, digits: int = 0, name: str = "") -> Row:
    return Row(f"{server}: {name or figure}", lambda sample: sample[server][figure], slack, digits)


def _function(function: str) -> list[Row]:
    def all_of(figure: str) -> Callable[[Sample], float]:
        return lambda sample: sum(one[figure] for one in sample["functions"][function].values())

    return [
        Row(f"{function}: processes", lambda sample: len(sample["functions"][function]), 1),
        Row(f"{function}: MB of the largest", lambda sample: _largest(sample, function), 3, 1),
        *(Row(f"{function}: {figure} of all", all_of(figure), 8) for figure in ("threads", "files", "sockets")),
    ]


def _largest(sample: Sample, function: str) -> float:
    return max((one["MB"] for one in sample["functions"][function].values()), default=0.0)


ROWS = [
    *(row for function in FUNCTIONS for row in _function(function)),
    _server("valkey", "used", 0.5, 2, "MB in use"),
    _server("valkey", "clients", 2, name="connections"),
    _server("valkey", "values", 0, name="values left between two runs"),
    _server("valkey", "for ever", 0, name="keys that never expire"),
    _server("caller", "MB", 25, 1, "MB"),
    *(_server("caller", figure, 2) for figure in ("threads", "files", "sockets")),
    Row("caller: temporary files", lambda sample: sample["files"]["of the caller"], 0),
    Row("functions: temporary files", lambda sample: sample["files"]["of the functions"], 5),
    Row("dead letters", lambda sample: sample["stored"]["dead letters"], 0),
    _server("emulator", "threads", 5),
    *(_server("emulator", figure, 100) for figure in ("files", "sockets")),  # it closes late what others have closed
    _server("emulator", "MB", None, 0, "MB (it keeps objects, items and logs in memory)"),
    _server("valkey", "marks", None, name="marks of runs with two trainers, which expire within an hour"),
    Row("ledger: items", lambda sample: sample["stored"]["items"]),
    Row("S3: versions of objects", lambda sample: sample["stored"]["objects"]),
    Row("S3: MB", lambda sample: sample["stored"]["bytes"] / 1e6, None, 1),
]


def _first_and_last(whole: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return the first and the last third of a list."""
    third = max(1, len(whole) // 3)
    return whole[:third], whole[-third:]


def growing(figures: Mapping[str, Any]) -> list[str]:
    """Return in a line each what is not flat: figures that grow, and kinds of runs that leave now this, now that."""
    samples, runs, found = figures["samples"], figures["runs"], []
    for row in ROWS:
        first, last = map(median, _first_and_last([row.of(sample) for sample in samples]))
        if row.slack is not None and last > first + row.slack:
            found.append(f"{row.name}: {first:g} at first, {last:g} at last")
    for kind, seen in runs.items():
        if len({run["objects"] for run in seen}) > 1:
            found.append(f"{kind}: {sorted({run['objects'] for run in seen})} objects")
        if any(run["keys"] > MARKS.get(kind, 0) for run in seen):
            found.append(f"{kind}: {max(run['keys'] for run in seen)} keys in the cache")
        # A run's item, and one for the costs of every second: as chance has it, one more or less.
        first, last = (median(run["items"] for run in third) for third in _first_and_last(seen))
        if last > first + 1:
            found.append(f"{kind}: {first:g} items in the ledger at first, {last:g} at last")
    return found


def line(sample: Sample) -> str:
    """Return what is worth saying of a sample while the soak goes on."""
    largest = ", ".join(f"{name} {_largest(sample, name):.1f}" for name in FUNCTIONS)
    return (
        f"{sample['at']:7.0f} s, {sample['done']} turns; MB: {largest}, emulator {sample['emulator']['MB']:.0f}; "
        f"valkey {sample['valkey']['used']:.2f} MB, {sample['valkey']['values']:.0f} values"
    )


def soaked(figures: Mapping[str, Any]) -> str:
    """Return the tables of a soak: what was there at first, in the middle and at last; what each kind of run leaves."""
    samples = figures["samples"]
    chosen = samples[0], samples[len(samples) // 2], samples[-1]
    minutes = samples[-1]["at"] / 60
    turns = sum(map(len, figures["runs"].values()))
    head = ["after", *(f"{sample['at'] / 60:.0f} min" for sample in chosen), "may grow by"]
    rows = [[row.name, *(f"{row.of(sample):,.{row.digits}f}" for sample in chosen), _slack(row)] for row in ROWS]
    kinds = [
        [
            kind,
            str(len(seen)),
            *(f"{median(run['seconds'] for run in third):.1f}" for third in _first_and_last(seen)),
            *(_range(run[what] for run in seen) for what in ("items", "objects", "keys")),
        ]
        for kind, seen in figures["runs"].items()
    ]
    return "\n\n".join(
        [
            f"{minutes:.0f} minutes, {turns:,} turns one after the other, all right:",
            table(head, rows),
            "What a turn of each kind takes at first and at last, and leaves:",
            table(["kind", "turns", "s, first third", "s, last third", "items", "objects", "keys that expire"], kinds),
        ]
    )


def _slack(row: Row) -> str:
    return "" if row.slack is None else f"{row.slack:g}"


def _range(counts: Iterable[float]) -> str:
    seen = sorted(set(counts))
    return f"{seen[0]:g}" if len(seen) == 1 else f"{seen[0]:g} to {seen[-1]:g}"


def loaded(figures: Mapping[str, Any]) -> str:
    """Return the tables of fifty runs at once and of the bursts; what was not measured is left out."""
    parts = []
    if fifty := figures.get("fifty"):
        names = {
            "runs": "runs", "right": "all right", "launched": "all launched after, s", "median": "median run, s",
            "slowest": "slowest run, s", "wall": "all over after, s", "trainers": "TrainerLambda invocations",
            "neurons": "NeuronLambda invocations", "launches": "launches that were sent again",
            "repeated": "trainers repeated",
        }  # fmt: skip
        parts.append(table([*names.values()], [[f"{fifty[name]:,}" for name in names]]))
    if bursts := [figures[name] for name in ("burst of 1", "burst of 20") if name in figures]:
        head = [
            "NeuronLambda",
            "runs",
            "invocations",
            "s",
            "invocations/s",
            "most at once",
            "refused, and asked again",
        ]
        rows = [
            [
                "bounded by the run" if burst["runs"] == 1 else "limited by the function",
                *(f"{burst[name]:,}" for name in ("runs", "invocations", "seconds")),
                f"{burst['invocations'] / burst['seconds']:,.0f}",
                *(f"{burst[name]:,}" for name in ("most", "refused")),
            ]
            for burst in bursts
        ]
        parts.append(table(head, rows))
    return "\n\n".join(parts)


def answered(figures: Mapping[str, Any]) -> str:
    """Return the tables of the endpoint; what was not measured is left out."""
    parts = []
    if kinds := figures.get("kinds"):
        head = ["", "first answer, s", "p50, ms", "p99, ms", "MB", "USD a 1,000", "USD a start"]
        rows = [
            [
                name, f"{one['cold']:.1f}", f"{one['p50']:.1f}", f"{one['p99']:.1f}", f"{one['MB']:.0f}",
                f"{one['USD a thousand']:.5f}", f"{one['USD a start']:.6f}",
            ]
            for name, one in kinds.items()
        ]  # fmt: skip
        parts.append(table(head, rows))
    if one := figures.get("while versions change"):
        parts.append(
            f"{one['requests']:,} requests by HTTP from {one['clients']} clients to the emulator, while "
            f"{one['versions'] - 1} versions were promoted and one was taken back: {one['failed']} failed, "
            f"{one['of no version']} were answered by a version that was not champion then, each answer was that "
            f"version's own. p50 {one['p50']:.1f} ms, p99 {one['p99']:.1f} ms, {one['requests'] / one['seconds']:.0f} "
            f"requests a second; the same handler without HTTP: p50 {one['bare p50']:.2f} ms, "
            f"p99 {one['bare p99']:.1f} ms."
        )
    return "\n\n".join(parts)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table, its first column to the left, all others to the right."""
    columns = list(head)
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    """Put the tables that there are figures for between their marks."""
    for file, marks, text in ((LOAD, LOAD_MARKS, loaded), (SOAK, SOAK_MARKS, soaked)):
        if file.exists():
            put(*marks, f"{text(json.loads(file.read_text()))}\n\n{measured(file)}")
    if ENDPOINT.exists():
        text = f"{answered(json.loads(ENDPOINT.read_text()))}\n\n{measured(ENDPOINT)}"
        put(*ENDPOINT_MARKS, text, ROOT / "docs" / "endpoint.md")


if __name__ == "__main__":
    main()
