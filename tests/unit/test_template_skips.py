"""What checkov is told to pass over: each with a reason, and all of them in docs/security.md."""

from __future__ import annotations

import re

from documentation import ROOT
from template_logic import TEMPLATES

PAGE = (ROOT / "docs" / "security.md").read_text()


def skips() -> dict[tuple[str, str], list[str]]:
    """The resources of each rule and reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for template, content in TEMPLATES.items():
        for name, resource in content["Resources"].items():
            for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", []):
                found.setdefault((skip["id"], " ".join(skip["comment"].split())), []).append(f"{template}: {name}")
    return found


def test_each_has_a_reason() -> None:
    assert {rule for rule, reason in skips() if len(reason) < 20} == set()
    assert all(re.fullmatch(r"CKV2?_AWS_\d+", rule) for rule, _ in skips())


def test_the_page_lists_them_all_and_no_others() -> None:
    rows = re.findall(r"^\| (CKV2?_AWS_\d+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert {(rule, reason): places.split(", ") for rule, places, reason in rows} == skips()
    total = sum(len(places) for places in skips().values())
    assert f"skips {total} findings" in PAGE
