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
from typing import TypedDict, cast

import held
from aws_calls import places
from documentation import ROOT

PAGE = ROOT / "docs" / "witnesses.md"
BEGIN, END = "<!-- table of operations: python -m witnesses writes it -->", "<!-- end of the table of operations -->"
EMULATORS = {"ministack": ("integration",), "moto": ("moto",)}
"""By their names, the folders of tests whose clients they answer."""


class Part(TypedDict):
    """What an emulator has answered in a run of these files of tests."""

    files: list[str]
    product: list[str]
    operations: list[str]
    deviations: list[list[str]]


def results(emulator: str) -> Path:
    """Return the folder where runs leave what an emulator has answered."""
    return ROOT / ".local" / "witnesses" / emulator


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


def record(ran: Iterable[Path]) -> tuple[list[str], list[str]]:
    """Keep what emulators have answered; return what of the page was not so, and what of `held.KNOWN` is so no more.

    Both are known when all tests of an emulator have run, be it in several runs, each of other files.
    """
    wrong, mended, files = list[str](), list[str](), set(ran)
    for emulator in EMULATORS:
        if not (of_it := files_of(emulator) & files):
            continue
        heard = held.heard[emulator]
        part: Part = {
            "files": sorted(map(_named, of_it)), "product": sorted(heard.of_product),
            "operations": sorted(heard.operations), "deviations": sorted(map(list, heard.deviations)),
        }  # fmt: skip
        _keep(emulator, part)
        if (whole := answered(emulator)) is None:
            continue
        missing = sorted(claimed(PAGE.read_text(), emulator) - set(whole["product"]))
        wrong += [f"{PAGE.name} says that {emulator} answers {operation}; nobody asked" for operation in missing]
        mended += [
            f"take it out of held.KNOWN, it is as AWS has it: {one}"
            for one in sorted(held.KNOWN[emulator])
            if one.operation in whole["operations"] and list(one) not in whole["deviations"]
        ]
    return wrong, mended


def files_of(emulator: str) -> set[Path]:
    """Return the files of tests whose clients an emulator answers."""
    return {file for folder in EMULATORS[emulator] for file in (ROOT / "tests" / folder).glob("test_*.py")}


def answered(emulator: str) -> Part | None:
    """Return what an emulator has answered in the last runs of all its tests; None until all have run."""
    parts: list[Part] = [json.loads(file.read_text()) for file in sorted(results(emulator).glob("*.json"))]
    whole = {key: [one for part in parts for one in part[key]] for key in Part.__annotations__}  # type: ignore[literal-required]
    return cast(Part, whole) if set(map(_named, files_of(emulator))) <= set(whole["files"]) else None


def _keep(emulator: str, part: Part) -> None:
    """Write a part in place of those that have any of its files."""
    folder = results(emulator)
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.json"):
        if set(json.loads(file.read_text())["files"]) & set(part["files"]):
            file.unlink()
    text = json.dumps(part, indent=1)
    (folder / f"{part['files'][0].replace('/', '-')}.json").write_text(text)


def _named(file: Path) -> str:
    return f"{file.parent.name}/{file.stem}"


def main() -> None:
    """Write the page from what the last runs of all tests have left."""
    answers = {}
    for emulator in EMULATORS:
        if (whole := answered(emulator)) is None:
            sys.exit(f"not all tests with {emulator} have run")
        answers[emulator] = set(whole["product"])
    PAGE.write_text(written(PAGE.read_text(), answers))
    sys.stdout.write(f"{PAGE.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
