"""Whether a run fits into the functions' memory: checked before it is launched, since Lambda kills what does not."""

from __future__ import annotations

from snn.errors import InvalidInput
from snn_cloud.aws.settings import Settings
from snn_cloud.cost.kept import waiting_bytes
from snn_cloud.cost.workload import Size, Workload
from snn_cloud.ledger.parameters import Parameters, Path
from snn_cloud.neurons.task import EMPTY_BYTES

MIB = 2**20


def check_fits(parameters: Parameters, size: Size, settings: Settings, source: str) -> None:
    """Raise InvalidInput, with the numbers and what to change, if one of the functions is too small for a run."""
    work = Workload(parameters, size)
    first, all_of_it = 4 * work.weight_bytes, work.weight_copies * work.weight_bytes
    fewer = "use fewer or smaller samples"
    needs = (
        ("LaunchLambda", settings.memory_mb, EMPTY_BYTES + first, "use fewer neurons or smaller samples"),
        ("TrainerLambda", settings.trainer_mb, work.trainer_bytes + all_of_it + waiting_bytes(work), fewer),
        (
            "NeuronLambda",
            settings.neuron_mb,
            work.neuron_bytes(settings.neuron_mb),
            f"choose a smaller batch_size, {fewer}",
        ),
    )
    for function, mb, needed, hint in needs:
        if not mb or needed <= mb * MIB:
            continue
        if function == "TrainerLambda":
            if work.in_span and parameters.first_layer is not Path.DIRECT:
                hint = f"choose first_layer direct, {hint}"
            if parameters.dtype == "float64":
                hint = f"choose dtype float32, {hint}"
        raise InvalidInput(
            f"{size.samples:,} samples of {size.features:,} numbers and {work.weight_bytes // work.itemsize:,} weights "
            f"need {needed / MIB:,.0f} MB, but {function} has {mb:,}",
            source=source,
            hint=f"{hint}, or enlarge {function} in cloudformation/training.yaml",
        )
