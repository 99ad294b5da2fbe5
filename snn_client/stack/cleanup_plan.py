"""What a cleanup would delete, and the names of a stack's resources."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NotRequired, Self, TypedDict, TypeVar

from snn_client.stack.artifacts import bucket_name
from snn_client.stack.options import check_stack_name
from snn_cloud.aws.clients import Clients

# Of root.yaml, none before those that need it.
NESTED_STACKS = ("Notebook", "Events", "Predict", "Features", "Training", "Cache", "Network", "Notifications")
MAX_LISTED = 150
"""Maximum number of resources, and of runs that have not ended, in what a task returns."""

T = TypeVar("T")

COUNTED = {"bucket": "version", "table": "item"}


class BelongingFields(TypedDict):
    """A belonging as plain values."""

    kind: str
    name: str
    count: int | None
    size: int | None


class PlanFields(TypedDict):
    """A plan as plain values; for XCom with how many items and runs are left out."""

    stack_name: str
    account: str
    region: str
    stack_ids: list[str]
    items: list[BelongingFields]
    runs: list[str]
    items_left_out: NotRequired[int]
    runs_left_out: NotRequired[int]


@dataclass(frozen=True)
class Belonging:
    """One resource of a stack: its kind, its name and, where known, how much is in it."""

    kind: str
    name: str
    count: int | None = None  # versions of objects, delete markers included, or items
    size: int | None = None  # bytes

    @property
    def holds(self) -> str:
        """Return how much is in it: "12 versions, 3.4 MB"."""
        count = [] if self.count is None else [f"{self.count:,} {COUNTED[self.kind]}{'s' * (self.count != 1)}"]
        size = [] if self.size is None else [f"{self.size / 1e6:,.1f} MB"]
        return ", ".join(count + size)


@dataclass(frozen=True)
class Names:
    """The names that templates and deployment construct for a stack; no other stack has one of them."""

    stack: str
    account: str
    region: str

    @classmethod
    def of(cls, clients: Clients, stack_name: str) -> Self:
        """Return the names in the clients' account and region. Raises InvalidInput if no stack can be called so."""
        check_stack_name(stack_name)
        return cls(stack_name, clients.sts.get_caller_identity()["Account"], clients.cloudformation.meta.region_name)

    @property
    def bucket(self) -> str:
        """Return the data bucket, unless one was named."""
        return f"{self.stack}-{self.account}-{self.region}"

    @property
    def artifact_bucket(self) -> str:
        """Return the artifact bucket."""
        return bucket_name(self.stack, self.account, self.region)

    @property
    def table(self) -> str:
        """Return the ledger."""
        return f"{self.stack}-runs"

    @property
    def functions(self) -> tuple[str, ...]:
        """Return the functions, the one that starts runs first."""
        kinds = "Launch", "Trainer", "Neuron", "Feature", "Predict", "Event"
        return tuple(f"{self.stack}-{kind}Lambda" for kind in kinds)

    @property
    def notebook(self) -> str:
        """Return the notebook instance."""
        return f"{self.stack}-notebook"

    def nested_place(self, stack_name: str) -> int:
        """Return a stack's place among the nested ones; the number of these for any other, so that the root is last.

        CloudFormation makes their names of the root's, the resource's and a suffix. No stack of ours has a capital
        letter in its name.
        """
        prefixes = [f"{self.stack}-{nested}-" for nested in NESTED_STACKS]
        return next((place for place, prefix in enumerate(prefixes) if stack_name.startswith(prefix)), len(prefixes))


@dataclass(frozen=True)
class Plan:
    """What there is of a stack: the stacks first, in the order they go, the artifact bucket last."""

    names: Names
    stack_ids: tuple[str, ...]  # what to tell CloudFormation to delete: the root, or nested stacks that lost theirs
    items: tuple[Belonging, ...]
    runs: tuple[str, ...]  # not over

    def has(self, kind: str, name: str) -> bool:
        """Return whether it is there."""
        return (kind, name) in {(item.kind, item.name) for item in self.items}

    @property
    def data_buckets(self) -> list[str]:
        """Return the buckets that must be emptied, as CloudFormation deletes none that holds anything."""
        return [item.name for item in self.items if item.kind == "bucket" and item.name != self.names.artifact_bucket]

    def lines(self) -> list[str]:
        """Return the plan as a table."""
        if not self.items:
            return [f"found nothing of a stack {self.names.stack}"]
        kind, name = (max(len(getattr(item, column)) for item in self.items) for column in ("kind", "name"))
        rows = [f"  {item.kind:<{kind}}  {item.name:<{name}}  {item.holds}".rstrip() for item in self.items]
        runs = [f"  runs that have not ended: {', '.join(self.runs)}"] if self.runs else []
        return [
            f"{len(self.items)} resources of the stack {self.names.stack}, stacks in the order of deletion:",
            *rows,
            *runs,
        ]

    def to_dict(self) -> PlanFields:
        """Return plain values."""
        return {
            "stack_name": self.names.stack, "account": self.names.account, "region": self.names.region,
            "stack_ids": list(self.stack_ids), "items": fields_of(self.items), "runs": list(self.runs),
        }  # fmt: skip

    def for_xcom(self) -> PlanFields:
        """Return the same for XCom: at most MAX_LISTED items and runs, and how many are left out."""
        cut = self.to_dict()
        cut["items"], cut["items_left_out"] = first_of(cut["items"])
        cut["runs"], cut["runs_left_out"] = first_of(cut["runs"])
        return cut

    @classmethod
    def from_dict(cls, values: PlanFields) -> Self:
        """Return what `to_dict` gave."""
        names = Names(values["stack_name"], values["account"], values["region"])
        items = tuple(Belonging(**item) for item in values["items"])
        return cls(names, tuple(values["stack_ids"]), items, tuple(values["runs"]))


def first_of(values: list[T]) -> tuple[list[T], int]:
    """Return at most MAX_LISTED values, and how many are left out."""
    return values[:MAX_LISTED], max(0, len(values) - MAX_LISTED)


def fields_of(belongings: Iterable[Belonging]) -> list[BelongingFields]:
    """Return belongings as plain values."""
    return [{"kind": each.kind, "name": each.name, "count": each.count, "size": each.size} for each in belongings]
