"""What the ledger holds of a run, and how that lies in DynamoDB."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, NamedTuple, Self

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from snn.errors import InvalidInput
from snn_cloud.ledger.parameters import Parameters


class State(StrEnum):
    """Where a run stands. The last three are final."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_terminal(self) -> bool:
        """Return whether nothing more will happen to the run."""
        return self in TERMINAL


class StoppedBy(StrEnum):
    """Why a training ended: by itself (`snn.training.Stop`), paused as it was asked to, cancelled, or out of budget."""

    EPOCHS = "epochs"
    THRESHOLD = "threshold"
    PATIENCE = "patience"
    PAUSE = "pause"
    CANCEL = "cancel"
    BUDGET = "budget"


TERMINAL = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})

CORE = ("launch", "trainer", "neuron")
FUNCTIONS = (*CORE, "feature", "predict")
"""Those of every stack, and all."""


@dataclass(frozen=True)
class Usage:
    """What was used of one function: invocations, their milliseconds together, and the size they ran in.

    And what these invocations asked of AWS: S3's two classes of requests, DynamoDB's units, messages to SNS.
    """

    invocations: int = 0
    milliseconds: int = 0
    memory_mb: int = 0
    s3_puts: int = 0
    s3_gets: int = 0
    write_units: int = 0
    read_units: int = 0
    publishes: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Return both together, in the larger size (one of the two is usually not known, 0)."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in COUNTERS}
        return Usage(**sums, memory_mb=max(self.memory_mb, other.memory_mb))


LAST_WRITE = Usage(write_units=2)
"""What the write that carries a function's last count costs itself: a run's item has 1 to 2 KB."""

REQUESTS = ("s3_puts", "s3_gets", "write_units", "read_units", "publishes")
COUNTERS = ("invocations", "milliseconds", *REQUESTS)


class Task(NamedTuple):
    """The task of Airflow that asked for a run; `map_index` is -1 of a task that is not mapped."""

    dag_id: str
    dag_run_id: str
    task_id: str
    map_index: int = -1

    def to_text(self) -> str:
        """Return it as JSON text."""
        return json.dumps(self._asdict())

    @classmethod
    def of(cls, text: str) -> Self | None:
        """Return what `to_text` gave; None of no text, and of any other."""
        try:
            given = json.loads(text)
            return cls(str(given["dag_id"]), str(given["dag_run_id"]), str(given["task_id"]), int(given["map_index"]))
        except (ValueError, TypeError, KeyError):
            return None


MAX_TAGS, MAX_TAG, MAX_NOTE = 10, 40, 500  # of a run; characters of a tag, and of the note


class Notes(NamedTuple):
    """What people have noted on a run; an archived one is not listed unless asked for."""

    tags: tuple[str, ...] = ()
    note: str = ""
    archived: bool = False

    @classmethod
    def checked(cls, tags: Sequence[str], note: str, archived: bool) -> Self:
        """Return notes, without blanks around them and tags that stand twice. Raises InvalidInput if they are long."""
        known = tuple(dict.fromkeys(tag for tag in (tag.strip() for tag in tags) if tag))
        note = note.strip()
        if len(known) > MAX_TAGS:
            raise InvalidInput(f"are {len(known)}", field="tags", hint=f"use at most {MAX_TAGS}")
        if long := [tag for tag in known if len(tag) > MAX_TAG]:
            hint = f"use at most {MAX_TAG} characters"
            raise InvalidInput(f"has a tag of {len(long[0])} characters", field="tags", hint=hint)
        if len(note) > MAX_NOTE:
            raise InvalidInput(f"has {len(note)} characters", field="note", hint=f"use at most {MAX_NOTE}")
        return cls(known, note, archived)


@dataclass(frozen=True)
class Run:
    """What the ledger knows of a run. Times are seconds since 1970, 0.0 if not reached.

    `epoch` counts those completed, `step` the steps of the present one, of `steps`. `cost` and the two figures of the
    validation are those of the last epoch; `best_epoch` is the one that validated best. `started_by` is the text of a
    `Task`, if one of Airflow's asked for the run. The last three are people's `Notes`.
    """

    run_id: str
    state: State = State.PENDING
    parameters: Parameters | None = None
    dataset: str = ""
    dataset_version: str = ""
    promote: bool = False
    trainer_seconds: float = 0.0
    checkpoint_version: str = ""
    created_at: float = 0.0
    started_at: float = 0.0
    ended_at: float = 0.0
    epoch: int = 0
    cost: float | None = None
    step: int = 0
    steps: int = 0
    validation_cost: float | None = None
    validation_metric: float | None = None
    best_epoch: int | None = None
    stopped_by: StoppedBy | None = None
    reason: str = ""
    cancel_requested: bool = False
    continuations: int = 0
    attempts: int = 0
    owner: str = ""
    fence: int = 0
    beat: int = 0
    usage: Mapping[str, Usage] = field(default_factory=dict)
    features: int = 0
    samples: int = 0  # that are trained on
    stored_bytes: int = 1  # of one feature of a sample
    resumed_from: str = ""
    started_by: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""
    archived: bool = False

    @property
    def notes(self) -> Notes:
        """Return what people have noted."""
        return Notes(self.tags, self.note, self.archived)

    @property
    def task(self) -> Task | None:
        """Return the task of Airflow that asked for the run, None if somebody else did."""
        return Task.of(self.started_by)

    @property
    def invocations(self) -> dict[str, int]:
        """Return how often each function was invoked: those of every stack, and others that were."""
        counts = {function: used.invocations for function, used in self.usage.items()}
        return {name: counts.get(name, 0) for name in FUNCTIONS if name in CORE or counts.get(name)}

    @property
    def requests(self) -> dict[str, int]:
        """Return what all functions together asked of S3, DynamoDB and SNS, under the names of `Usage`'s fields."""
        return {name: sum(getattr(used, name) for used in self.usage.values()) for name in REQUESTS}

    @property
    def seconds(self) -> float:
        """Return how long the training has taken, from its first trainer to its end or to now."""
        return (self.ended_at or time.time()) - self.started_at if self.started_at else 0.0


# What DynamoDB has as text or as numbers of its own kind.
FLOATS = {"trainer_seconds", "created_at", "started_at", "ended_at", "cost", "validation_cost", "validation_metric"}
INTEGERS = {
    "epoch", "step", "steps", "best_epoch", "continuations", "attempts", "fence", "beat", "features", "samples",
    "stored_bytes",
}  # fmt: skip


MOST_USED = 10**12  # of anything by one run: more is nonsense
USED_BEFORE = "features-used"
"""What of a data set's object tells what its features took: its run is charged for that."""


def used_before(metadata: Mapping[str, str]) -> dict[str, Usage]:
    """Return what was used for a data set before its run, by what its object says; nothing if it says nothing."""
    try:
        usage = Usage(**{name: int(value) for name, value in json.loads(metadata[USED_BEFORE]).items()})
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
        return {}
    if not all(0 <= count <= MOST_USED for count in vars(usage).values()):
        return {}
    return {"feature": usage}


def to_item(run: Run) -> dict[str, Any]:
    """Return a new run as a DynamoDB item. Empty fields are left out; they read back as their defaults."""
    given = {name: value for name, value in vars(run).items() if value and name not in ("parameters", "usage")}
    parameters = {"parameters": run.parameters.to_json()} if run.parameters else {}
    used = {
        f"{function}_{name}": value
        for function, usage in run.usage.items()
        for name, value in vars(usage).items()
        if value
    }
    return pack({**given, **parameters, **used, "run_id": run.run_id, "item": "run", "fence": 0, "beat": 0})


def from_item(packed: Mapping[str, Any]) -> Run:
    """Return the run that a DynamoDB item holds."""
    item = unpack(packed)
    usage = {
        function: Usage(**{count.name: int(item.get(f"{function}_{count.name}", 0)) for count in fields(Usage)})
        for function in FUNCTIONS
    }
    known: dict[str, Any] = {name: item[name] for name in vars(Run(run_id="")) if name in item}
    for name in FLOATS & known.keys():
        known[name] = float(known[name])
    for name in INTEGERS & known.keys():
        known[name] = int(known[name])
    if known.get("parameters"):
        known["parameters"] = Parameters.load(known["parameters"], source=f"ledger entry of {item['run_id']}")
    known["tags"] = tuple(known.get("tags", ()))
    known["state"] = State(known["state"])
    known["stopped_by"] = StoppedBy(known["stopped_by"]) if known.get("stopped_by") else None
    return Run(**{**known, "usage": usage})


def pack(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values as DynamoDB's typed ones; a float goes as its shortest text, which reads back exactly."""
    serialize = TypeSerializer().serialize

    def plain(value: Any) -> Any:
        return repr(value) if isinstance(value, float) else str(value) if isinstance(value, StrEnum) else value

    return {name: serialize(plain(value)) for name, value in values.items()}


def unpack(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return DynamoDB's typed values as plain ones."""
    deserialize = TypeDeserializer().deserialize
    return {name: deserialize(value) for name, value in item.items()}
