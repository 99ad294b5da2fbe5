"""What a report holds: its parts by name and type."""

from __future__ import annotations

from typing import NotRequired, TypedDict, TypeVar, final

from snn_client.data.judging import Finding
from snn_client.reports.metrics import TestSet
from snn_cloud.cost.money import Cost


@final
class Classified(TypedDict):
    """A new photo: what the user called it, and its class.

    `probability` is, of two classes, that of class 1; of more, that of the class that was predicted. `unlike` is there,
    and true, of a photo that is like none that the model was trained on (`judging.familiar`): its class says little.
    """

    uri: str
    predicted: int
    class_name: str
    probability: float
    unlike: NotRequired[bool]


@final
class Measured(TypedDict):
    """A new photo, and the number that the model gives for it; `unlike` as of one that is classified."""

    uri: str
    value: float
    unlike: NotRequired[bool]


NewImage = Classified | Measured


class TrainingFacts(TypedDict):
    """How a run was trained, and how far; the last two only where there was a validation."""

    epochs_configured: int
    epochs_run: int
    stopped_by: str | None
    final_cost: float | None
    seconds: float
    granularity: str
    strategy: str
    optimizer: str
    validation_cost: float | None
    best_epoch: int | None


class Judged(TypedDict):
    """What a model is worth: all that there is to say of one whose run the ledger does not know."""

    run_id: str
    test_set: TestSet
    new_images: list[NewImage]
    new_images_left_out: int


class AboutData(TypedDict):
    """What is suspicious about the data that a model was trained on and judged by."""

    findings: list[Finding]


class Report(Judged):
    """A run's report, as it goes to XCom and to `report.json`; `artifacts` are addresses in S3.

    `data` is there once the report is written, `intended_use` if somebody gave it.
    """

    training: TrainingFacts
    cost: Cost
    artifacts: dict[str, str]
    data: NotRequired[AboutData]
    intended_use: NotRequired[str]


AnyReport = TypeVar("AnyReport", Judged, Report)
