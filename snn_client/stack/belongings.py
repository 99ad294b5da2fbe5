"""Find what belongs to a stack, and so what its cleanup may touch.

CloudFormation's own list says what is in a stack. Beside it stand the artifact bucket and what an earlier deletion left
behind. That is looked for under the exact names that the templates construct, never by a prefix, and it is the stack's
only if it carries a tag that nobody else gives: CloudFormation's own, or the deployment's on the artifact bucket.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from snn_client.stack.artifacts import DATA_TAG, NOTEBOOK_PREFIX, STACK_TAG, tags_of_bucket
from snn_client.stack.cleanup_plan import NESTED_STACKS, Belonging, Names, Plan
from snn_client.stack.events import NESTED
from snn_client.stack.ownership import check_ours
from snn_client.stack.status import describe_stack
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.record import State, pack, unpack

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackTypeDef
    from mypy_boto3_logs.type_defs import LogGroupTypeDef

NOTEBOOK_LOGS = "/aws/sagemaker/NotebookInstances"  # one log group for all notebook instances of an account
KINDS = {  # in the order of a listing; all others come after these
    NESTED: "stack",
    "AWS::Logs::LogGroup": "log group",
    "AWS::DynamoDB::Table": "table",
    "AWS::S3::Bucket": "bucket",
    "AWS::Lambda::Function": "function",
    "AWS::SQS::Queue": "queue",
    "AWS::SNS::Topic": "topic",
}
# What could not be made may be somebody else's, whose name was in the way.
NOT_IN_STACK = ("CREATE_FAILED", "DELETE_COMPLETE", "DELETE_SKIPPED")
MISSING = ("404", "NoSuchBucket", "NotFound", "ResourceNotFoundException")


def plan(clients: Clients, stack_name: str) -> Plan:
    """Return what there is of a stack, and change nothing. Raises InvalidInput for a stack that is none of ours."""
    names = Names.of(clients, stack_name)
    stacks = our_stacks(clients, names)
    found = [item for stack in stacks for item in _in_stack(clients, stack)]
    tags = tags_of_bucket(clients, names.artifact_bucket, names.account)
    found += _left_behind(clients, names, {names.bucket, tags.get(DATA_TAG, names.bucket)}, found)
    if stacks or tags.get(STACK_TAG) == names.stack:
        found.append(Belonging("bucket", names.artifact_bucket))
    if found:
        found += _log_groups_left_behind(clients, names, found)
        found += _logs_of_the_notebook(clients, names)
    items, runs = list[Belonging](), list[str]()
    for item in found:
        try:
            if item.kind == "table":
                count, runs = census(clients, item.name)
                items.append(replace(item, count=count))
            elif item.kind == "bucket":
                items.append(_measured(clients, names, item))
            elif item.kind == "log group":
                items += [replace(item, size=group["storedBytes"]) for group in _log_group(clients, item.name)]
            else:
                items.append(item)
        except ClientError as error:
            if not is_missing(error):  # CloudFormation does not know yet that somebody deleted it by hand
                raise
    kinds = list(KINDS.values())

    def place(item: Belonging) -> tuple[Any, ...]:
        kind = kinds.index(item.kind) if item.kind in kinds else len(kinds)
        return item.name == names.artifact_bucket, kind, names.nested_place(item.name), item.kind, item.name

    return Plan(names, tuple(stack["StackId"] for stack in stacks), tuple(sorted(items, key=place)), tuple(runs))


def our_stacks(clients: Clients, names: Names) -> list[StackTypeDef]:
    """Return the root stack; where it is gone, its nested stacks that someone made CloudFormation keep.

    Raises InvalidInput for a stack of this name that is none of ours.
    """
    root = describe_stack(clients, names.stack)
    if root is not None:
        check_ours(clients, root, "CloudFormation", "stack", "name one that snn deployed")
        return [root]
    kept = [
        stack
        for page in clients.cloudformation.get_paginator("describe_stacks").paginate()
        for stack in page["Stacks"]
        if names.nested_place(stack["StackName"]) < len(NESTED_STACKS) and _parameter(stack, "Prefix") == names.stack
    ]
    return sorted(kept, key=lambda stack: names.nested_place(stack["StackName"]))


def census(clients: Clients, table: str) -> tuple[int, list[str]]:
    """Return how many items a ledger has, and the runs in it that are not over."""
    pages = clients.dynamodb.get_paginator("scan").paginate(
        TableName=table,
        ConsistentRead=True,
        FilterExpression="#item = :run AND #state IN (:pending, :running)",
        ProjectionExpression="run_id",
        ExpressionAttributeNames={"#item": "item", "#state": "state"},
        ExpressionAttributeValues=pack({":run": "run", ":pending": State.PENDING, ":running": State.RUNNING}),
    )
    count, runs = 0, list[str]()
    for page in pages:
        count += page["ScannedCount"]
        runs += [unpack(item)["run_id"] for item in page["Items"]]
    return count, sorted(runs)


def is_missing(error: ClientError) -> bool:
    """Return whether AWS says that there is no such thing."""
    return error.response["Error"]["Code"] in MISSING


def _in_stack(clients: Clients, stack: Mapping[str, Any]) -> Iterator[Belonging]:
    yield Belonging("stack", stack["StackName"])
    pages = clients.cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack["StackId"])
    for resource in (resource for page in pages for resource in page["StackResourceSummaries"]):
        name = resource.get("PhysicalResourceId")
        if not name or resource["ResourceStatus"] in NOT_IN_STACK:
            continue
        if resource["ResourceType"] == NESTED:
            yield from _in_stack(clients, {"StackName": name.split("/")[1], "StackId": name})
        else:
            kind = resource["ResourceType"]
            yield Belonging(KINDS.get(kind, kind.removeprefix("AWS::")), name)


def _left_behind(clients: Clients, names: Names, buckets: set[str], found: list[Belonging]) -> Iterator[Belonging]:
    """Yield a data bucket and the table if a stack that is gone was told to keep them."""
    for kind, name in (*(("bucket", bucket) for bucket in sorted(buckets)), ("table", names.table)):
        if Belonging(kind, name) not in found:
            table = kind == "table"
            tags = _tags_of_table(clients, name) if table else tags_of_bucket(clients, name, names.account)
            if names.nested_place(tags.get("aws:cloudformation:stack-name", "")) < len(NESTED_STACKS):
                yield Belonging(kind, name)


def _log_groups_left_behind(clients: Clients, names: Names, found: list[Belonging]) -> Iterator[Belonging]:
    """Yield the log groups of functions that are gone; those of somebody else's functions are not ours."""
    for function in names.functions:
        group = Belonging("log group", f"/aws/lambda/{function}")
        if group in found:
            continue
        try:
            clients.lambda_.get_function_configuration(FunctionName=function)
        except ClientError as error:
            if not is_missing(error):
                raise
            yield group


def _logs_of_the_notebook(clients: Clients, names: Names) -> Iterator[Belonging]:
    """Yield the notebook instance's log streams: SageMaker made them, and no stack has them.

    Only if there was such an instance in the stack: its package lies in the artifact bucket.
    """
    try:
        package = clients.s3.list_objects_v2(
            Bucket=names.artifact_bucket, Prefix=NOTEBOOK_PREFIX, MaxKeys=1, ExpectedBucketOwner=names.account
        )
        if not package.get("Contents"):
            return
        pages = clients.logs.get_paginator("describe_log_streams").paginate(
            logGroupName=NOTEBOOK_LOGS, logStreamNamePrefix=f"{names.notebook}/"
        )
        for stream in (stream for page in pages for stream in page["logStreams"]):
            yield Belonging("log stream", stream["logStreamName"])
    except ClientError as error:
        if not is_missing(error):
            raise


def _parameter(stack: StackTypeDef, name: str) -> str | None:
    values = {item["ParameterKey"]: item["ParameterValue"] for item in stack.get("Parameters", [])}
    return values.get(name)


def _tags_of_table(clients: Clients, table: str) -> dict[str, str]:
    try:
        arn = clients.dynamodb.describe_table(TableName=table)["Table"]["TableArn"]
        pages = clients.dynamodb.get_paginator("list_tags_of_resource").paginate(ResourceArn=arn)
        return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}
    except ClientError as error:
        if is_missing(error):
            return {}
        raise


def _measured(clients: Clients, names: Names, bucket: Belonging) -> Belonging:
    count = size = 0
    pages = clients.s3.get_paginator("list_object_versions")
    for page in pages.paginate(Bucket=bucket.name, ExpectedBucketOwner=names.account):
        versions = page.get("Versions", [])
        count += len(versions) + len(page.get("DeleteMarkers", []))
        size += sum(version["Size"] for version in versions)
    return replace(bucket, count=count, size=size)


def _log_group(clients: Clients, name: str) -> list[LogGroupTypeDef]:
    """Return the log group of just this name; nothing if there is none."""
    pages = clients.logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=name)
    return [group for page in pages for group in page["logGroups"] if group["logGroupName"] == name]
