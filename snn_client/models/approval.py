"""Approval: what people are asked about a candidate, how they hear of it, and what was answered first."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from snn.errors import InvalidInput
from snn_client.judging.contents import METRICS
from snn_client.models.versions import command
from snn_client.reports.formats import DASH, visible
from snn_client.reports.headline import headlines, name_of, shown
from snn_cloud.ledger.messages import Messages
from snn_cloud.registry.record import Metric, Status, Version
from snn_cloud.registry.registry import AlreadyDecided, Registry

if TYPE_CHECKING:
    from snn_client.models.challenge import Comparison
    from snn_client.stack.outputs import StackOutputs
    from snn_cloud.aws.clients import Clients

OPTIONS = {"Approve": Status.APPROVED, "Reject": Status.REJECTED}
"""What people may choose, and what a version is then."""
BY_DEADLINE = "deadline"
"""Who decides if nobody has answered in time."""


class Answer(TypedDict):
    """What was decided on a version, by whom, why, and when (seconds since 1970)."""

    model: str
    number: int
    run_id: str
    status: str
    by: str
    reason: str
    at: float


class Question(NamedTuple):
    """What people are asked: a headline, and the text below it in Markdown."""

    subject: str
    body: str


class Row(NamedTuple):
    """A figure of the champion and of the candidate, for reading."""

    name: str
    champion: str
    candidate: str


def option_of(status: Status) -> str:
    """Return what people choose so that a version has this status."""
    return next(option for option, meant in OPTIONS.items() if meant is status)


def status_of(option: str, field: str) -> Status:
    """Return what an answer means, in any case: approve or reject. Raises InvalidInput, naming `field`."""
    meant = {name.lower(): status for name, status in OPTIONS.items()}
    if option.lower() not in meant:
        raise InvalidInput(f"{option!r} is no answer", field=field, hint=f"use {' or '.join(meant)}")
    return meant[option.lower()]


def question(
    version: Version, comparison: Comparison | None, champion: Version | None, report: str = "",
    deadline: float | None = None, default: Status = Status.REJECTED,
) -> Question:  # fmt: skip
    """Return what people are asked about a candidate.

    The figures are those of `comparison`, both on the same test set; without one those of the registry, each model's on
    its own. `report` is the address of the candidate's report, `deadline` when (seconds since 1970) `default` is taken.
    """
    name = f"Version {version['number']} of {version['model']}"
    if comparison:
        held = comparison["champion"]
        rows, former = rows_of(comparison), held["run_id"] if held else ""
    else:
        rows = _rows(champion["metrics"] if champion else {}, version["metrics"])
        former = champion["run_id"] if champion else ""
    parts = [
        f"{name}, trained by run `{version['run_id']}`, wants to become champion. "
        + (f"The champion is run `{former}`." if former else "There is no champion that it was compared with."),
        _table(rows),
    ]
    if comparison:
        parts.append(f"**Decision by rule:** {_plain(comparison['decision']['reason'])}.")
    parts.append(f"Data set: `{version['dataset']}`" + (f". [Report]({report})" if report else ""))
    if deadline is not None:
        until = datetime.fromtimestamp(deadline, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        parts.append(f"If nobody answers until {until}, the answer is **{option_of(default)}**.")
    commands = " or ".join(f"`{command(version, word.lower())}`" for word in OPTIONS)
    parts.append(f"The first answer counts, here or by {commands}.")
    return Question(f"{name}: become champion?", "\n\n".join(filter(None, parts)))


def rows_of(comparison: Comparison) -> list[Row]:
    """Return the figures of a comparison, with their intervals."""
    held = comparison["champion"]
    old = {one.key: _between(one.text, one.between) for one in headlines(held["test_set"])} if held else {}
    new = headlines(comparison["challenger"]["test_set"])
    return [Row(one.name, old.get(one.key, DASH), _between(one.text, one.between)) for one in new]


def announce(clients: Clients, outputs: StackOutputs, version: Version, why: str = "") -> None:
    """Tell whoever subscribed to the stack's topic that a version waits for approval.

    It is a courtesy: what cannot be sent is said in the log.
    """
    name = f"Version {version['number']} of {version['model']} (run {version['run_id']})"
    text = f"{name} waits for approval ({command(version, 'approve')}){why and f': {why}'}"
    Messages(clients.sns, outputs.topic_arn).tell(text)


def decide_first(registry: Registry, version: Version, status: Status, by: str, reason: str = "") -> Version:
    """Decide on a version, and return it as it is then: as somebody else decided, if that was earlier."""
    try:
        return registry.decide(version["model"], version["run_id"], status, by, reason)
    except AlreadyDecided:
        return registry.held(version["model"], version["run_id"])


def answer_of(version: Version) -> Answer:
    """Return what was decided on a version."""
    told = version["decided"]
    return {
        "model": version["model"],
        "number": version["number"],
        "run_id": version["run_id"],
        "status": version["status"],
        "by": told["by"] if told else "",
        "reason": told["reason"] if told else "",
        "at": told["at"] if told else time.time(),
    }


def _rows(champion: Mapping[str, Metric], candidate: Mapping[str, Metric]) -> list[Row]:
    def text(key: str, metrics: Mapping[str, Metric]) -> str:
        found: Any = metrics.get(key)
        if not found:
            return DASH
        ends = f"{shown(key, found['low'])} to {shown(key, found['high'])}" if "low" in found else DASH
        return _between(shown(key, found["value"]), ends)

    return [Row(name_of(key), text(key, champion), text(key, candidate)) for key in METRICS if key in candidate]


def _between(text: str, ends: str) -> str:
    return text if ends == DASH else f"{text} ({ends})"


def _table(rows: list[Row]) -> str:
    if not rows:
        return "Nobody has judged it on a test set."
    lines = ["| on the test set | champion | candidate |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {row.name} | {row.champion} | {row.candidate} |" for row in rows)])


def _plain(text: str) -> str:
    """Return a text, in which names of classes stand, so that nothing in it is taken for Markdown."""
    shown_text: str = visible(text)
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|!~" else sign for sign in shown_text)
