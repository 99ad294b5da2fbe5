"""What needs each permission, and what a user sees without it; and what the emulator asks no policy for.

A row begins with the permissions it is about: role, statement, action (all, if there is none), a part of the resource.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from permissions import Permission
from role_work import Work, asked
from strict import STACK

from snn_client.stack.belongings import NOTEBOOK_LOGS
from snn_cloud.aws.clients import Clients

DENIED = r"AccessDenied|not authorized|UnauthorizedOperation|Forbidden"
UNREADABLE = "S3 denies access, or there is no such object"  # who may not list a bucket is not told what is in it
ONE, SUBNET, GROUP = {"NetworkInterfaceId": "eni-0123456789abcdef0"}, "subnetid-1", "securitygroupid-1"
NOT_LAUNCHED, NOT_STORED = f"LaunchLambda failed: .*({DENIED})", f"failed after 3 epochs: .*({DENIED})"

EVENT: Any = {"Source": "snn", "DetailType": "Run Completed", "Detail": "{}"}

Need = Callable[[Work, Clients, Permission], str]


def logs_of(function: str) -> Need:
    """Write a log line as Lambda does in the role's name."""
    return lambda work, may, permission: _log(may, permission, f"/aws/lambda/{STACK}-{function}", "2026/01/01/strict")


def _log(may: Clients, permission: Permission, group: str, stream: str) -> str:
    named = {"logGroupName": group, "logStreamName": stream}
    calls: dict[str, Callable[[], object]] = {
        "logs:CreateLogGroup": lambda: may.logs.create_log_group(logGroupName=group),
        "logs:CreateLogStream": lambda: may.logs.create_log_stream(**named),
        "logs:PutLogEvents": lambda: may.logs.put_log_events(**named, logEvents=[{"timestamp": 1, "message": "x"}]),
    }
    return asked(calls[permission.action])


def network(work: Work, may: Clients, permission: Permission) -> str:
    """Ask EC2 as Lambda or SageMaker does in the role's name."""
    ec2 = may._make("ec2")
    calls: dict[str, Callable[[], object]] = {
        "AssignPrivateIpAddresses": lambda: ec2.assign_private_ip_addresses(**ONE, SecondaryPrivateIpAddressCount=1),
        "CreateNetworkInterface": lambda: ec2.create_network_interface(SubnetId=SUBNET, Groups=[GROUP]),
        "DeleteNetworkInterface": lambda: ec2.delete_network_interface(**ONE),
        "UnassignPrivateIpAddresses": lambda: ec2.unassign_private_ip_addresses(**ONE, PrivateIpAddresses=["10.0.0.1"]),
        "DescribeDhcpOptions": ec2.describe_dhcp_options,
        "DescribeNetworkInterfaces": ec2.describe_network_interfaces,
        "DescribeSecurityGroups": ec2.describe_security_groups,
        "DescribeSubnets": ec2.describe_subnets,
        "DescribeVpcs": ec2.describe_vpcs,
    }  # fmt: skip
    return asked(calls[permission.action.removeprefix("ec2:")])


def invokes(function: str) -> Need:
    """Invoke a function as Lambda does in the role's name, with an event that it refuses."""
    return lambda work, may, _: asked(
        lambda: may.lambda_.invoke(FunctionName=f"{STACK}-{function}", InvocationType="Event", Payload=b"{}")
    )


def reads(key: str, bucket: str = "bucket") -> Need:
    """Read an object."""

    def read(work: Work, may: Clients, permission: Permission) -> str:
        place = getattr(work.stack, bucket)
        work.put(key, bucket=place)
        return asked(lambda: may.s3.get_object(Bucket=place, Key=key))

    return read


def may_do(what: Callable[[Work, Clients], str]) -> Need:
    """Take what is done with clients only."""
    return lambda work, may, _: what(work, may)


def by_functions(what: Callable[[Work], str]) -> Need:
    """Take what the deployed functions do under their own roles."""
    return lambda work, *_: what(work)


# The first of each role is the one that `make test` takes.
NEEDED: list[tuple[str, Need, str]] = [
    ("LaunchRole StartTrainer", by_functions(Work.run), NOT_LAUNCHED),
    ("LaunchRole WriteLogs", logs_of("LaunchLambda"), DENIED),
    ("LaunchRole ReadInput s3:GetObject training_input", by_functions(Work.upload), r"parameters\.json: is missing"),
    ("LaunchRole ReadInput s3:GetObject runs", by_functions(Work.run), UNREADABLE),
    ("LaunchRole ReadInput s3:GetObjectVersion training_input", by_functions(Work.upload), UNREADABLE),
    ("LaunchRole ReadInput s3:GetObjectVersion runs", by_functions(Work.resumed), UNREADABLE),
    ("LaunchRole WriteRuns", by_functions(Work.run), NOT_LAUNCHED),
    ("LaunchRole KeepLedger", by_functions(Work.run), NOT_LAUNCHED),
    ("LaunchRole Announce", by_functions(Work.announced_failure), f"not sent: Training failed.*({DENIED})"),
    ("LaunchRole GiveUp", may_do(Work.gave_up), DENIED),
    ("TrainerRole ReadAndWriteRuns s3:GetObject runs", by_functions(Work.run), UNREADABLE),
    ("TrainerRole ReadAndWriteRuns s3:GetObjectVersion runs", by_functions(Work.run), UNREADABLE),
    ("TrainerRole ReadAndWriteRuns s3:PutObject runs", by_functions(Work.run), NOT_STORED),
    ("TrainerRole ReadUploads s3:GetObject", by_functions(Work.uploaded_before), UNREADABLE),
    ("TrainerRole ReadUploads s3:GetObjectVersion", by_functions(Work.upload), UNREADABLE),
    ("TrainerRole Promote", by_functions(Work.promoted), NOT_STORED),
    ("TrainerRole KeepLedger", by_functions(Work.run), DENIED),
    ("TrainerRole InvokeNeuronsAndContinueItself * NeuronLambda", by_functions(Work.neurons), DENIED),
    ("TrainerRole InvokeNeuronsAndContinueItself * TrainerLambda", by_functions(Work.continued), DENIED),
    ("TrainerRole Announce", by_functions(Work.announced), f"not sent: Training completed.*({DENIED})"),
    ("TrainerRole GiveUp", invokes("LaunchLambda"), DENIED),
    ("TrainerRole WriteLogs", logs_of("TrainerLambda"), DENIED),
    ("TrainerRole LambdaAttachesFunctions", network, DENIED),
    ("NeuronRole WriteLogs logs:PutLogEvents", logs_of("NeuronLambda"), DENIED),
    ("NeuronRole WriteLogs logs:CreateLogStream", logs_of("NeuronLambda"), DENIED),
    ("NeuronRole LambdaAttachesFunctions", network, DENIED),
    ("NotebookRole StageAndReport s3:PutObject runs", may_do(Work.staged), DENIED),
    ("NotebookRole StageAndReport s3:PutObject photos", may_do(Work.saw_large), DENIED),
    ("FeatureRole ReadBackbonesAndPhotos s3:GetObject backbones", by_functions(Work.saw_anew), UNREADABLE),
    ("FeatureRole ReadBackbonesAndPhotos s3:GetObject photos", by_functions(Work.saw_large), UNREADABLE),
    ("FeatureRole WriteFeatures", by_functions(Work.saw), DENIED),
    ("FeatureRole WriteLogs", logs_of("FeatureLambda"), DENIED),
    ("EventRole Tell", lambda work, may, _: asked(lambda: may.events.put_events(Entries=[EVENT])), DENIED),
    ("EventRole ReadChanges dynamodb:DescribeStream", lambda work, may, _: asked(
        lambda: may._make("dynamodbstreams").describe_stream(StreamArn=work.stream)), DENIED),
    ("EventRole ReadChanges dynamodb:GetShardIterator", lambda work, may, _: asked(
        lambda: work.shard(may)), DENIED),
    ("EventRole ReadChanges dynamodb:GetRecords", lambda work, may, _: asked(
        lambda: may._make("dynamodbstreams").get_records(ShardIterator=work.shard(work.clients))), DENIED),
    ("EventRole GiveUp", may_do(Work.gave_up), DENIED),
    ("EventRole WriteLogs", logs_of("EventLambda"), DENIED),
    ("PredictRole ReadModels s3:GetObject params.h5", by_functions(Work.answered), "503: .*no champion"),
    ("PredictRole ReadModels s3:GetObject models", by_functions(Work.answered_by_another_model), "404: .*no champion"),
    ("PredictRole ReadModels s3:GetObject runs", by_functions(Work.answered_by_a_version), f"503: .*{UNREADABLE}"),
    *[(f"PredictRole ReadModels s3:GetObject {place}", reads(f"{place}/x"), DENIED)
      for place in ("training_input", "backbones")],
    ("PredictRole KeepRegistry dynamodb:GetItem", by_functions(Work.answered_by_a_version), "500: the endpoint failed"),
    ("PredictRole KeepRegistry dynamodb:Query", by_functions(Work.answered_by_a_number), "500: the endpoint failed"),
    ("PredictRole KeepRegistry dynamodb:UpdateItem", by_functions(Work.counted), "nothing of it is counted"),
    ("PredictRole ReadBatches s3:GetObject batch_input", by_functions(Work.batched), "S3 denies access, or it was"),
    ("PredictRole ReadBatches s3:GetObject photos", by_functions(Work.batched_large), "S3 denies access, or it was"),
    ("PredictRole WritePredictions", by_functions(Work.batched), f"failed 3 times: .*({DENIED})"),
    ("PredictRole TellOfDrift", lambda work, may, _: asked(
        lambda: may.sns.publish(TopicArn=work.stack.topic_arn, Message="x")), DENIED),
    ("PredictRole WriteLogs", logs_of("PredictLambda"), DENIED),
    ("NotebookRole FetchPackage", reads("notebook/1/x.whl", bucket="artifact_bucket"), DENIED),
    ("NotebookRole FindTheStack", may_do(Work.found), DENIED),
    ("NotebookRole ListRuns", lambda work, may, _: asked(
        lambda: may.s3.list_objects_v2(Bucket=work.stack.bucket, Prefix="runs/")), DENIED),
    *[(f"NotebookRole ReadResults s3:GetObject {place}", reads(f"{place}/x"), DENIED)
      for place in ("runs", "training_input", "training_results", "predict_input", "backbones", "features")],
    ("NotebookRole WatchRuns", may_do(Work.watched), DENIED),
    ("NotebookRole LaunchRunsAndAskNeurons * LaunchLambda", lambda work, may, _: work.run(may=may), DENIED),
    ("NotebookRole LaunchRunsAndAskNeurons * NeuronLambda", invokes("NeuronLambda"), DENIED),
    ("NotebookRole ComputeFeatures", may_do(Work.saw), DENIED),
    ("NotebookRole WriteLogs", lambda work, may, permission: _log(
        may, permission, NOTEBOOK_LOGS, f"{STACK}-notebook/jupyter.log"), DENIED),
    ("NotebookRole MakeTheGroupOfLogs", lambda work, may, permission: _log(may, permission, NOTEBOOK_LOGS, ""), DENIED),
    ("NotebookRole LookAtTheNetwork", network, DENIED),
    ("NotebookRole MakeTheInterface * subnet", network, DENIED),
    ("operator WatchAndCancelRuns dynamodb:Query", may_do(Work.watched), DENIED),
    ("operator WatchAndCancelRuns dynamodb:GetItem", may_do(Work.watched), DENIED),
    ("operator WatchAndCancelRuns dynamodb:BatchGetItem", may_do(Work.listed), DENIED),
    ("operator WatchAndCancelRuns dynamodb:UpdateItem", may_do(Work.cancelled), DENIED),
    ("operator KeepTheRegistry dynamodb:PutItem", may_do(Work.registered), DENIED),
    ("operator KeepTheRegistry dynamodb:DeleteItem", may_do(Work.tried_again), DENIED),
    ("operator SayThatAVersionWaits", may_do(Work.told_of_a_version), f"not sent: Version .*({DENIED})"),
    ("operator ListRuns", may_do(Work.listed), DENIED),
    ("operator FindTheStack", may_do(Work.found), DENIED),
    ("operator StageReadAndReport s3:GetObject", may_do(Work.judged), UNREADABLE),
    ("operator StageReadAndReport s3:GetObjectVersion", may_do(Work.champion_over_a_hand_s), DENIED),
    ("operator StageReadAndReport s3:PutObject", may_do(Work.staged), DENIED),
    ("operator StageReadAndReport s3:DeleteObject", may_do(Work.champion_over_a_hand_s), DENIED),
    ("operator StageReadAndReport s3:DeleteObjectVersion", may_do(Work.withdrawn), DENIED),
    ("operator StageReadAndReport s3:ListBucketVersions", may_do(Work.withdrawn), DENIED),
    ("operator ComputeFeatures", may_do(Work.saw), DENIED),
    ("operator AnswerBatches", may_do(Work.batched), DENIED),
    ("operator StartRuns", lambda work, may, _: work.run(may=may), DENIED),
    ("operator ReadLogs", may_do(Work.read_logs), DENIED),
    ("operator HearOfNewData sqs:ReceiveMessage", lambda work, may, _: asked(
        lambda: may.sqs.receive_message(QueueUrl=work.new_data)), DENIED),
    ("operator HearOfNewData sqs:DeleteMessage", lambda work, may, _: asked(
        lambda: may.sqs.delete_message(QueueUrl=work.new_data, ReceiptHandle="x")), DENIED),
    *[(f"deployer {needed}", may_do(Work.deployed_and_cleaned_up), DENIED) for needed in (
        "Stacks cloudformation:CreateChangeSet",
        "Stacks cloudformation:DeleteStack", "Stacks cloudformation:DescribeStackEvents",
        "Stacks cloudformation:ExecuteChangeSet",
        "Stacks cloudformation:ListStackResources", "Stacks cloudformation:UpdateStack",
        "ListsThatTakeNoName cloudformation:DescribeChangeSet", "ListsThatTakeNoName cloudformation:DescribeStacks",
        "ListsThatTakeNoName logs:DescribeLogGroups",
        "WhatCarriesTheStacksName s3:*", "WhatCarriesTheStacksName dynamodb:*", "WhatCarriesTheStacksName lambda:*",
        "LogsOfTheNotebook logs:DescribeLogStreams", "LogsOfTheNotebook logs:DeleteLogStream",
    )],
    ("deployer Stacks cloudformation:DeleteChangeSet", may_do(Work.looked_at_and_left), DENIED),
    ("deployer Stacks cloudformation:ListChangeSets", may_do(Work.looked_at_and_left), DENIED),
    ("deployer Stacks cloudformation:CreateStack", may_do(Work.deployed_at_once), DENIED),
]  # fmt: skip

# What a role has that no call shows to be needed, with what shows it. (A row of NEEDED comes before.)
IN_ITS_NAME = "CloudFormation asks for it in the deployer's name; tests/unit/test_docs.py compares with AWS's schemas"
BY_OTHER_MEANS: list[tuple[str, str]] = [
    (
        "TrainerRole LogInToCache",
        "no call: a signed token, which only ElastiCache looks at; tests/unit/test_templates.py",
    ),
    ("NeuronRole LogInToCache", "the same"),
    ("NotebookRole LogInToCache", "the same; tests/unit/test_notebook_template.py"),
    ("operator StageReadAndReport s3:ListBucket", "who may not list is not told by S3 that an object is not there"),
    (
        "NotebookRole MakeTheInterface * network-interface",
        "the emulator asks about the subnet alone, AWS about all three",
    ),
    ("NotebookRole MakeTheInterface * security-group", "the same"),
    (
        "NotebookRole HandTheInterfaceOver",
        "the emulator knows of no interface which subnet it is in, as the condition asks",
    ),
    *[
        (f"deployer {sid}", IN_ITS_NAME)
        for sid in (
            "Stacks",
            "WhatCarriesTheStacksName",
            "Roles",
            "RolesOnlyForLambda",
            "ListsThatTakeNoName",
            "KeyOfTheLedger",
            "KeyOfTheTopicOnlyWithEmail",
            "NetworkOnlyWithCache",
            "CacheOnlyWithCache",
            "FirstCacheOfAnAccount",
            "ApiOnlyWithJwt",
            "AccessLogOfTheApiOnlyWithJwt",
            "NotebookOnlyWithNotebook",
            "RoleOfTheNotebook",
            "NetworkInterfaceOfTheNotebook",
        )
    ],
]


def is_about(row: str, permission: Permission) -> bool:
    """Return whether a row of these tables is about a permission."""
    who, sid, action, part, *_ = [*row.split(), "", ""]
    return (
        (permission.who, permission.sid) == (who, sid)
        and action in ("", "*", permission.action)
        and part in permission.resource
    )
