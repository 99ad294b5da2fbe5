"""Delete a stack and everything in it: data, models, reports, ledger, logs, artifacts.

`clean_up` does it in one call. Whoever must not wait (a deferrable operator) calls `start_cleanup`, polls
`snn_client.stack.status.stack_status` until it is done, calls `next_deletion` and polls again until that returns "",
and ends with `finish_cleanup`.

    runs stopped, no new ones ──▶ data bucket emptied ──▶ stack deleted ──▶ what it left ──▶ artifact bucket
                                        ▲                     │
                                        └─ something was written meanwhile

The artifact bucket is made first and goes last. As long as it is there it proves that the name was a stack of ours, so
a cleanup that was interrupted anywhere is finished by the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

from botocore.exceptions import ClientError

from snn.errors import InvalidInput, one_line
from snn_client.stack.belongings import NOTEBOOK_LOGS, census, is_missing, our_stacks, plan
from snn_client.stack.cleanup_plan import Belonging, BelongingFields, Plan, fields_of, first_of
from snn_client.stack.events import first_failure
from snn_client.stack.status import StackStatus, describe_stack, silent, wait_for_stack
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError, StackFailed
from snn_cloud.ledger.ledger import Ledger

__all__ = [
    "Plan",
    "Report",
    "ReportFields",
    "clean_up",
    "finish_cleanup",
    "forget_artifacts",
    "next_deletion",
    "plan",
    "start_cleanup",
]

CANCEL_SECONDS = 60.0  # a trainer that lives stops within seconds of being asked
# What AWS itself keeps for a while, of a kind in the plan.
STAYS = {
    "table": "DynamoDB keeps a backup of {} for 35 days, free of charge, then deletes it",
    "KMS::Key": "KMS deletes the key {} in 7 days; it no longer costs anything",
}


class ReportFields(TypedDict):
    """A report as plain values; for XCom with how many belongings are left out."""

    stack_name: str
    deleted: list[BelongingFields]
    stays: list[str]
    deleted_left_out: NotRequired[int]


@dataclass(frozen=True)
class Report:
    """What a cleanup did: what is gone, and in a line each what AWS keeps for a while and then deletes by itself."""

    stack_name: str
    deleted: tuple[Belonging, ...]
    stays: tuple[str, ...]

    def to_dict(self) -> ReportFields:
        """Return plain values."""
        return {"stack_name": self.stack_name, "deleted": fields_of(self.deleted), "stays": list(self.stays)}

    def for_xcom(self) -> ReportFields:
        """Return the same for XCom: at most MAX_LISTED belongings, and how many are left out."""
        cut = self.to_dict()
        cut["deleted"], cut["deleted_left_out"] = first_of(cut["deleted"])
        return cut


def clean_up(
    clients: Clients, stack_name: str, *, cancel_runs: bool = False, on_progress: Callable[[str], None] = silent
) -> Report:
    """Delete a stack and wait until it is gone; does nothing if there is none.

    Raises InvalidInput if the stack is none of ours or has runs that have not ended, unless `cancel_runs`; StackFailed
    with what could not be deleted and why.
    """
    wanted = plan(clients, stack_name)
    deletion = start_cleanup(clients, wanted, cancel_runs=cancel_runs, on_progress=on_progress)
    while deletion:
        wait_for_stack(clients, deletion, on_progress)
        deletion = next_deletion(clients, wanted, deletion, on_progress)
    return finish_cleanup(clients, wanted, on_progress)


def start_cleanup(
    clients: Clients, wanted: Plan, *, cancel_runs: bool = False, on_progress: Callable[[str], None] = silent
) -> str:
    """Stop the runs, empty the data bucket, start to delete; return the stack to wait for, "" if there is none.

    Raises as `clean_up` does, and deletes nothing before all that can refuse has been asked. From then on the stack
    starts no run any more, and all that can be done with it is to clean up again.
    """
    for stack in filter(None, (describe_stack(clients, stack_id) for stack_id in wanted.stack_ids)):
        if stack.get("EnableTerminationProtection"):
            raise _failed(wanted, "it has termination protection")
        status = StackStatus(stack["StackStatus"])
        if not status.done and status.status != "DELETE_IN_PROGRESS":
            raise _failed(wanted, f"it is {status.status}: someone is deploying it")
    try:
        _stop_runs(clients, wanted, cancel_runs, on_progress)
    except ClientError as error:
        if not is_missing(error):  # going away already
            raise
    return next_deletion(clients, wanted, "", on_progress)


def next_deletion(clients: Clients, wanted: Plan, ended: str, on_progress: Callable[[str], None] = silent) -> str:
    """Return the stack to wait for now that the deletion of `ended` has ended; "" if none is left.

    One that failed is tried again if something was written into the bucket after it had been emptied. Raises
    StackFailed if it failed for any other reason.
    """
    left = our_stacks(clients, wanted.names)
    if not left:
        return ""
    stack = left[0]
    if stack["StackName"] == wanted.names.stack and stack["StackId"] not in wanted.stack_ids:
        raise _failed(wanted, "someone deployed it again in the meantime")
    removed = sum(_empty(clients, wanted, bucket, on_progress) for bucket in wanted.data_buckets)
    if stack["StackId"] == ended and not removed:
        raise _failed(wanted, first_failure(clients, ended, ("DELETE",)) or stack["StackStatus"])
    if stack["StackStatus"] != "DELETE_IN_PROGRESS":
        on_progress(f"deleting the stack {stack['StackName']}")
        clients.cloudformation.delete_stack(StackName=stack["StackId"])
    return stack["StackId"]


def finish_cleanup(clients: Clients, wanted: Plan, on_progress: Callable[[str], None] = silent) -> Report:
    """Delete what the stack left behind, and last the artifact bucket; return what is gone.

    Raises StackFailed with what cannot be deleted.
    """
    names = wanted.names
    for item in _left(clients, wanted):
        on_progress(f"deleting the {item.kind} {item.name}")
        _delete(clients, wanted, item, on_progress)
    if left := _left(clients, wanted):
        raise _failed(wanted, f"still left: {', '.join(f'{item.kind} {item.name}' for item in left)}")
    if wanted.has("bucket", names.artifact_bucket):
        on_progress(f"deleting the bucket {names.artifact_bucket}")
        _delete(clients, wanted, Belonging("bucket", names.artifact_bucket), on_progress)
    stays = tuple(STAYS[item.kind].format(item.name) for item in wanted.items if item.kind in STAYS)
    return Report(names.stack, wanted.items, stays)


def forget_artifacts(clients: Clients, stack_name: str, on_progress: Callable[[str], None] = silent) -> None:
    """Delete the artifact bucket of a stack that is not there, unless there is anything else of it."""
    wanted = plan(clients, stack_name)
    if not wanted.stack_ids and [item.name for item in wanted.items] == [wanted.names.artifact_bucket]:
        finish_cleanup(clients, wanted, on_progress)


def _left(clients: Clients, wanted: Plan) -> list[Belonging]:
    """Return what there is without a stack, but for the artifact bucket."""
    now = plan(clients, wanted.names.stack)
    if now.stack_ids:
        raise _failed(wanted, "someone deployed it again in the meantime")
    return [item for item in now.items if item.name != wanted.names.artifact_bucket]


def _failed(wanted: Plan, reason: str) -> StackFailed:
    return StackFailed(f"the stack {wanted.names.stack} could not be cleaned up: {one_line(reason)}")


def _stop_runs(clients: Clients, wanted: Plan, cancel_runs: bool, on_progress: Callable[[str], None]) -> None:
    """Make sure that no run continues or starts. Raises InvalidInput if runs have not ended, unless `cancel_runs`."""
    names, launch = wanted.names, wanted.names.functions[0]
    _refuse(wanted, wanted.runs, cancel_runs)
    if wanted.has("function", launch):
        # Closes both doors, uploads and direct launches, and one call opens them again.
        clients.lambda_.put_function_concurrency(FunctionName=launch, ReservedConcurrentExecutions=0)
    if not wanted.has("table", names.table):
        return
    _, runs = census(clients, names.table)
    try:
        _refuse(wanted, runs, cancel_runs)
    except InvalidInput:  # one slipped in
        clients.lambda_.delete_function_concurrency(FunctionName=launch)
        raise
    ledger, deadline = Ledger(clients.dynamodb, names.table), time.monotonic() + CANCEL_SECONDS
    for run_id in runs:
        on_progress(f"cancelling run {run_id}")
        ledger.request_cancel(run_id)
    while runs := [run_id for run_id in runs if not ledger.get(run_id).state.is_terminal]:
        if time.monotonic() > deadline:
            on_progress(f"no answer within {CANCEL_SECONDS:g} s, continuing without: {', '.join(runs)}")
            return
        time.sleep(0.5)


def _refuse(wanted: Plan, runs: Sequence[str], cancel_runs: bool) -> None:
    if runs and not cancel_runs:
        raise InvalidInput(
            f"not ended: {', '.join(runs)}", field="runs", source=f"stack {wanted.names.stack}",
            hint="wait for them, or set cancel_runs",
        )  # fmt: skip


def _delete(clients: Clients, wanted: Plan, item: Belonging, on_progress: Callable[[str], None]) -> None:
    """Delete a bucket, a table, a log group or a log stream; nothing happens if it is gone.

    Raises StackFailed if it cannot be deleted.
    """
    try:
        if item.kind == "bucket":
            _empty(clients, wanted, item.name, on_progress)
            clients.s3.delete_bucket(Bucket=item.name, ExpectedBucketOwner=wanted.names.account)
        elif item.kind == "table":
            clients.dynamodb.delete_table(TableName=item.name)
            clients.dynamodb.get_waiter("table_not_exists").wait(TableName=item.name)
        elif item.kind == "log group":
            clients.logs.delete_log_group(logGroupName=item.name)
        elif item.kind == "log stream":
            clients.logs.delete_log_stream(logGroupName=NOTEBOOK_LOGS, logStreamName=item.name)
    except ClientError as error:
        if not is_missing(error):
            raise _failed(wanted, f"{item.kind} {item.name}: {error.response['Error'].get('Message')}") from error


def _empty(clients: Clients, wanted: Plan, bucket: str, on_progress: Callable[[str], None]) -> int:
    """Delete all versions of all objects and return how many there were, 0 if there is no such bucket.

    Raises CloudError if an object cannot be deleted.
    """
    ours: Any = {"Bucket": bucket, "ExpectedBucketOwner": wanted.names.account}
    removed = 0
    try:
        # The first page until there is none: S3 names the place to go on at by a version, and that is gone by then.
        while versions := _first_versions(clients, ours):
            answer = clients.s3.delete_objects(**ours, Delete={"Objects": versions, "Quiet": True})
            for error in answer.get("Errors", []):
                raise CloudError(f"s3://{bucket}/{error.get('Key')} cannot be deleted: {error.get('Message')}")
            removed += len(versions)
    except ClientError as error:
        if not is_missing(error):
            raise
    if removed:
        on_progress(f"emptied the bucket {bucket}: {removed:,} version{'s' * (removed != 1)}")
    return removed


def _first_versions(clients: Clients, ours: Any) -> list[Any]:
    """Return up to 1,000 versions and delete markers of a bucket, as many as S3 deletes at a time."""
    page = clients.s3.list_object_versions(**ours, MaxKeys=1000)
    found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
    return [{"Key": version["Key"], "VersionId": version["VersionId"]} for version in found]
