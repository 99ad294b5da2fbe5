"""Whether a run fits into the functions' memory: asked before it is launched, since Lambda kills what does not."""

from __future__ import annotations

from snn.errors import InvalidInput
from snn.parameters import Parameters, Path
from snn_cloud.neuron_task import EMPTY_BYTES
from snn_cloud.settings import Settings
from snn_cloud.workload import Workload

MIB = 2**20
WEIGHT_COPIES = 4  # the weights, their gradients, those after the step, and all of them in a file; counted


def check_fits(
    parameters: Parameters, features: int, samples: int, test_samples: int, settings: Settings, source: str
) -> None:
    """Raise InvalidInput, with the numbers and what to change, if one of the functions is too small for a run."""
    work = Workload(parameters, features, samples)
    weights = WEIGHT_COPIES * work.weight_bytes
    fewer = "use fewer or smaller photos"
    needs = (
        ("LaunchLambda", settings.memory_mb, EMPTY_BYTES + weights, "use fewer neurons or smaller photos"),
        ("TrainerLambda", settings.trainer_mb, work.trainer_bytes + weights + features * test_samples, fewer),
        ("NeuronLambda", settings.neuron_mb, work.neuron_bytes, f"choose a smaller batch_size, {fewer}"),
    )
    for function, size, needed, mend in needs:
        if not size or needed <= size * MIB:
            continue
        if function == "TrainerLambda" and work.in_span and parameters.first_layer is not Path.DIRECT:
            mend = f"choose first_layer direct, {mend}"
        raise InvalidInput(
            f"{samples:,} photos of {features:,} numbers and {work.weight_bytes // 8:,} weights need "
            f"{needed / MIB:,.0f} MB where {function} has {size:,}",
            source=source,
            mend=f"{mend}, or enlarge {function} in cloudformation/training.yaml",
        )
