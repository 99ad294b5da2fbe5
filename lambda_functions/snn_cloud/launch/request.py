"""What a launch request may contain."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from snn.errors import InvalidInput
from snn_cloud.aws import places
from snn_cloud.ledger.parameters import refuse

SOURCE = "launch request"


class LaunchRequest(BaseModel):
    """A run to start: its name, what to train on, and how. `load` checks it."""

    # strict: "false" is not false, and would promote a model.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    run_id: str
    dataset: str = Field(description="key in the stack's bucket")
    dataset_version: str = Field(default="", description="the object's version; empty: the latest")
    parameters: dict[str, Any] = Field(description="an object as in parameters.json")
    promote: bool = Field(default=False, description="put the model into predict_input/ when done")
    trainer_seconds: float = Field(default=0.0, ge=0, description="how long one trainer works; 0: as long as it can")
    resume_from: str = Field(default="", description="the failed or cancelled run from whose last checkpoint to start")
    started_by: str = Field(default="", max_length=2000, description="the task of Airflow that asks, as JSON text")

    @field_validator("run_id")
    @classmethod
    def _is_a_run_id(cls, run_id: str) -> str:
        return places.check_run_id(run_id)

    @field_validator("dataset")
    @classmethod
    def _is_where_data_sets_are(cls, key: str) -> str:
        if not places.may_be_dataset(key):
            raise InvalidInput(
                f"{key!r} is not a place for data sets",
                field="dataset",
                source=SOURCE,
                hint=f"put it under runs/<a run>/input/ or {places.UPLOAD_PREFIX}",
            )
        return key

    @classmethod
    def load(cls, given: Any) -> Self:
        """Return the request that an event holds. Raises InvalidInput, which names every bad field in one line."""
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            known = ", ".join(cls.model_fields)
            refuse(
                error, InvalidInput, SOURCE, lambda field: ("is not a known field", f"known are {known}"),
                f"send an object with {known}",
            )  # fmt: skip
