"""What checkov is told to pass over: each with a reason, and all of them in docs/security.md."""

from __future__ import annotations

import json
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


def test_what_comments_name_is_there() -> None:
    """A resource or property in a skip's reason is one of that template; in any other comment, of any template."""
    called = re.compile(r"(?<![:\w.])[A-Z][a-z]+(?:[A-Z][a-z0-9]+)+\b")
    elsewhere = {"CloudFormation", "CloudTrail", "CloudWatch", "SageMaker", "GetAtt"}
    bodies = {}
    for template, content in TEMPLATES.items():
        resources = {
            name: {**resource, "Metadata": None, "Type": resource["Type"].split("::")}
            for name, resource in content["Resources"].items()
        }
        bodies[template] = set(re.findall(r"\w+", json.dumps({**content, "Resources": resources})))
    for (_, reason), places in skips().items():
        for template in {place.partition(":")[0] for place in places}:
            assert set(called.findall(reason)) - elsewhere <= bodies[template], reason
    for path in (ROOT / "cloudformation").glob("*.yaml"):
        comments = " ".join(re.findall(r"(?:^|\s)# (.*)$", path.read_text(), re.MULTILINE))
        assert set(called.findall(comments)) - elsewhere <= set().union(*bodies.values()), path.name


def test_the_page_lists_them_all_and_no_others() -> None:
    rows = re.findall(r"^\| (CKV2?_AWS_\d+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert {(rule, reason): places.split(", ") for rule, places, reason in rows} == skips()
    total = sum(len(places) for places in skips().values())
    assert f"skips {total} findings" in PAGE
