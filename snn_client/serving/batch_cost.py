"""What a batch will take and cost, before it runs: its inputs, at speeds that were measured.

Measured in December 2026 on two busy cores and the emulator. A Lambda with 1,769 MB has one core of a kind that AWS
chooses, so speeds here are half of those measured; every environment is taken to be cold.
"""

from __future__ import annotations

import math

from snn_client.serving.batch_contents import Estimate, Kind
from snn_client.serving.batch_inputs import Survey
from snn_client.serving.batch_parts import MEMORY_MB
from snn_client.stack.outputs import StackOutputs
from snn_cloud.cost.money import cost_of
from snn_cloud.ledger.record import Run, Usage
from snn_data.model import Model

COLD_SECONDS = 3.0  # of a PredictLambda until it has its model
BACKBONE_SECONDS = 0.1  # of a photo; measured 0.044 by EfficientNet-Lite0
PHOTO_SECONDS = 0.014  # of a photo, beside its bytes; measured 0.007
BYTES_A_SECOND = 6e6  # of photos that are read and decoded; measured 12e6
VALUE_SECONDS = 2e-6  # of one value of a row
ROW_SECONDS = 40e-6  # of a row, beside its values; measured 20e-6 with them
PART_SECONDS = 0.1  # of a part, however small


def estimate(survey: Survey, kind: Kind, model: Model, stack: StackOutputs, at_once: int) -> Estimate:
    """Return what a batch will take."""
    if kind == "photos":
        one = PHOTO_SECONDS + (BACKBONE_SECONDS if "backbone" in model.attributes else 0.0)
        work = survey.inputs * one + survey.size / BYTES_A_SECOND
    else:
        work = survey.inputs * (ROW_SECONDS + model.features * VALUE_SECONDS)
    together = min(at_once, survey.parts)
    seconds = work + survey.parts * PART_SECONDS + together * COLD_SECONDS
    # Each environment reads the version and its model; each part is one object, and its photos are at most so many.
    gets = 3 * together + (survey.inputs if kind == "photos" else 0)
    usage = Usage(
        survey.parts, math.ceil(seconds * 1000), MEMORY_MB, s3_puts=survey.parts, s3_gets=gets, read_units=together
    )
    return {
        "kind": kind, "inputs": survey.inputs, "parts": survey.parts, "at_once": at_once,
        "seconds": seconds / max(1, together), "usd": cost_of(Run("", usage={"predict": usage}), stack)["usd"],
    }  # fmt: skip
