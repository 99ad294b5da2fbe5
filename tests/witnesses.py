"""docs/witnesses.md: which emulators, beside the service model, answer each operation that the product asks AWS for.

What an emulator has answered is known when all of its tests have run; the page is the record of that. A run of all of
them fails if something on the page was not asked for. `PYTHONPATH=tests python -m witnesses` writes the page anew.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import held
from aws_calls import places
from documentation import ROOT

PAGE = ROOT / "docs" / "witnesses.md"
BEGIN, END = "<!-- table of operations: python -m witnesses writes it -->", "<!-- end of the table of operations -->"
EMULATORS = {"ministack": ("integration",), "moto": ("moto",)}
"""By their names, the folders of tests whose clients they answer."""


def results(emulator: str) -> Path:
    """Return where a run of all of an emulator's tests leaves what it has answered."""
    return ROOT / ".local" / "witnesses" / f"{emulator}.json"


def claimed(page: str, emulator: str) -> set[str]:
    """Return the operations that an emulator answers, as the page says."""
    column = 3 + list(EMULATORS).index(emulator)
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\| `.*$", page, re.MULTILINE)]
    return {row[0].strip("`") for row in rows if len(row) > column and row[column] == "yes"}


def table(answers: Mapping[str, set[str]]) -> str:
    """Return the table, what has no second witness, and the deviations that are known."""
    files: dict[str, set[str]] = {}
    for place in places():
        files.setdefault(place.operation, set()).add(place.file.removeprefix("lambda_functions/"))
    lines = ["| operation | asked for in | service model | " + " | ".join(EMULATORS) + " |", "|---" * 5 + "|"]
    for operation, where in sorted(files.items()):
        marks = ["yes" if operation in answers[emulator] else "–" for emulator in EMULATORS]
        lines.append(f"| `{operation}` | {', '.join(sorted(where))} | yes | {' | '.join(marks)} |")
    alone = [f"`{operation}`" for operation in sorted(files) if not any(operation in said for said in answers.values())]
    lines += ["", f"Without a second witness: {', '.join(alone) or 'none'}."]
    known = [(emulator, one, why) for emulator, listed in held.KNOWN.items() for one, why in sorted(listed.items())]
    lines += ["", "| what answers otherwise than AWS | where | how | why that may be |", "|---" * 4 + "|"]
    lines += [f"| {name} | `{one.operation}`: `{one.member}` | {one.why} | {why} |" for name, one, why in known]
    return "\n".join(lines)


def written(page: str, answers: Mapping[str, set[str]]) -> str:
    """Return the page with the table put between its two marks."""
    assert page.count(BEGIN) == page.count(END) == 1, f"{PAGE.name} must have {BEGIN} and {END} once"
    head, (_, tail) = page.split(BEGIN)[0], page.split(END)
    return f"{head}{BEGIN}\n{table(answers)}\n{END}{tail}"


def record(ran: Iterable[Path]) -> list[str]:
    """Keep what emulators have answered whose tests ran, all of them; return what of the page was not so."""
    wrong, files = [], set(ran)
    for emulator, folders in EMULATORS.items():
        wanted = {file for folder in folders for file in (ROOT / "tests" / folder).glob("test_*.py")}
        if not wanted <= files:
            continue
        answered = held.heard[emulator].of_product
        results(emulator).parent.mkdir(parents=True, exist_ok=True)
        results(emulator).write_text(json.dumps(sorted(answered), indent=1))
        missing = sorted(claimed(PAGE.read_text(), emulator) - answered)
        wrong += [f"{PAGE.name} says that {emulator} answers {operation}; nobody asked" for operation in missing]
    return wrong


def main() -> None:
    """Write the page from what the last runs of all tests have left."""
    answers = {emulator: set(json.loads(results(emulator).read_text())) for emulator in EMULATORS}
    PAGE.write_text(written(PAGE.read_text(), answers))
    sys.stdout.write(f"{PAGE.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
