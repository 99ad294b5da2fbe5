"""Which run a try of the training task works on: one under way, one that has ended, or a new one.

Airflow repeats a task for two reasons, which need opposite behaviour:

    a worker, or its machine, died      try 1: run x  ✗  try 2: run x      the training went on: watch it again
    a person cleared the task           try 1: run x  │  try 2: run x-t2   train again, or on from x's checkpoint

`max_tries` distinguishes them: clearing sets it to the tries so far and the task's retries on top; Airflow's own
retries leave it alone. Only a task that is cleared while it runs in a worker keeps it; that one has cancelled its run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from snn_cloud.aws.places import run_of_try

if TYPE_CHECKING:
    from snn_cloud.ledger.record import Run


class Choice(NamedTuple):
    """The run of this try, to be launched: an existing one is launched again with the same request.

    `resume_from` is the run whose checkpoint it begins with, if any.
    """

    run_id: str
    resume_from: str
    why: str


def choose_run(
    run_id: str,
    try_number: int,
    first_try: int,
    resume: bool,
    find: Callable[[str], Run | None],
    stop: Callable[[str], Run],
) -> Choice:
    """Return the run that a try works on; a run still going although its task was cleared is stopped first.

    `first_try` is the first since the task was last cleared. `find` looks a run up in the ledger, `stop` stops one
    and waits for its end.
    """
    from snn_cloud.ledger.record import State

    numbered = ((number, find(run_of_try(run_id, number))) for number in range(try_number, 0, -1))
    number, last = next(((number, run) for number, run in numbered if run), (0, None))
    mine = run_of_try(run_id, try_number)
    if last is None:
        return Choice(mine, "", "")
    cancelled = last.cancel_requested or last.state is State.CANCELLED
    if number >= first_try and not cancelled:
        why = f"run {last.run_id} was started by try {number}; this try continues with it"
        return Choice(last.run_id, last.resumed_from, why)
    if not last.state.is_terminal:
        last = stop(last.run_id)
    if not resume:
        return Choice(
            mine, "", f"run {last.run_id} of try {number} is {last.state}: starting a new run from the first epoch"
        )
    if last.state is State.COMPLETED:
        return Choice(mine, "", f"run {last.run_id} of try {number} is complete, nothing to resume: starting a new run")
    return Choice(mine, last.run_id, f"resuming run {last.run_id} of try {number} ({last.state}) from its checkpoint")
