"""Whatever keeps data or carries it is encrypted and closed, in every template, also what is added tomorrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from template_logic import TEMPLATES, holds, resolved, resources

TRAINING, CACHE, ROOT = (TEMPLATES[name]["Resources"] for name in ("training", "cache", "root"))
OWN_KEY = {"Fn::If": ["HasEmail", {"Ref": "Key"}, "alias/aws/sns"]}
CLOSED = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")


def of_kind(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, properties) of the resources of a type; there is at least one."""
    found = [
        (name, resource.get("Properties", {}))
        for template in TEMPLATES.values()
        for name, resource in template["Resources"].items()
        if resource["Type"] == kind
    ]
    assert found
    yield from found


def test_buckets_are_encrypted_closed_and_versioned() -> None:
    for _, bucket in of_kind("AWS::S3::Bucket"):
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
        assert bucket["PublicAccessBlockConfiguration"] == dict.fromkeys(CLOSED, True)
        assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
        assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}


def test_a_bucket_takes_nothing_without_tls_unless_there_is_none() -> None:
    """The only exception is an endpoint that is plain http: the emulator."""
    parameters = {"WithCache": "false", "CacheUser": "", "LayerArn": "", "AlarmTopicArn": ""}
    with_tls, without = (resources("training", **parameters, SecureTransport=secure) for secure in ("true", "false"))
    assert with_tls - without == {"AWS::S3::BucketPolicy"}
    for _, policy in of_kind("AWS::S3::BucketPolicy"):
        (statement,) = policy["PolicyDocument"]["Statement"]
        assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert [resolved(item) for item in statement["Resource"]] == ["Bucket.Arn", "${Bucket.Arn}/*"]
    assert {policy["Bucket"]["Ref"] for _, policy in of_kind("AWS::S3::BucketPolicy")} == {
        name for name, _ in of_kind("AWS::S3::Bucket")
    }
    assert TEMPLATES["root"]["Parameters"]["SecureTransport"]["Default"] == "true"


def test_tables_queues_topics_and_volumes_are_encrypted() -> None:
    for _, table in of_kind("AWS::DynamoDB::Table"):
        assert table["SSESpecification"] == {"SSEEnabled": True}
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    for _, queue in of_kind("AWS::SQS::Queue"):
        assert queue["SqsManagedSseEnabled"] is True
    for _, topic in of_kind("AWS::SNS::Topic"):
        assert topic["KmsMasterKeyId"] == OWN_KEY
    for _, key in of_kind("AWS::KMS::Key"):
        assert key["EnableKeyRotation"] is True
    for _, instance in of_kind("AWS::SageMaker::NotebookInstance"):
        assert "KmsKeyId" not in instance  # SageMaker's own key; there is no volume without one


def test_the_cache_is_encrypted_asks_who_is_there_and_stands_in_the_private_network() -> None:
    for _, group in of_kind("AWS::ElastiCache::ReplicationGroup"):
        assert group["AtRestEncryptionEnabled"] is True
        assert group["TransitEncryptionEnabled"] == {"Fn::If": ["Secure", True, False]}
        assert group["UserGroupIds"] == {"Fn::If": ["Secure", [{"Ref": "UserGroup"}], {"Ref": "AWS::NoValue"}]}
        assert group["SecurityGroupIds"] == [{"Ref": "SecurityGroupId"}]
        assert group["CacheSubnetGroupName"] == {"Ref": "SubnetGroup"}
    assert CACHE["User"]["Properties"]["AuthenticationMode"] == {"Type": "iam"}
    assert CACHE["User"]["Properties"]["AccessString"].endswith("-@admin -@dangerous")
    assert CACHE["UserGroup"]["Properties"]["UserIds"] == [{"Ref": "User"}]  # nobody without a log-in
    assert resources("cache", SecureTransport="true") - resources("cache", SecureTransport="false") == {
        "AWS::ElastiCache::User",
        "AWS::ElastiCache::UserGroup",
    }
    given = ROOT["Cache"]["Properties"]["Parameters"]
    assert given["SubnetIds"] == {"Fn::GetAtt": ["Network", "Outputs.SubnetIds"]}
    assert given["SecurityGroupId"] == {"Fn::GetAtt": ["Network", "Outputs.CacheSecurityGroupId"]}


def test_functions_that_use_the_cache_stand_in_the_same_network() -> None:
    vpc = {"SubnetIds": {"Ref": "SubnetIds"}, "SecurityGroupIds": [{"Ref": "SecurityGroupId"}]}
    for name in ("TrainerLambda", "NeuronLambda"):
        condition, inside, _ = TRAINING[name]["Properties"]["VpcConfig"]["Fn::If"]
        assert inside == vpc
        assert holds(condition, TEMPLATES["training"], {"WithCache": "true"})


def test_logs_are_kept_for_as_long_as_somebody_said() -> None:
    groups = dict(of_kind("AWS::Logs::LogGroup"))
    assert {group["RetentionInDays"]["Ref"] for group in groups.values()} == {"LogRetentionDays"}
    functions = dict(of_kind("AWS::Lambda::Function"))
    written = {function["LoggingConfig"]["LogGroup"]["Ref"] for function in functions.values()}
    stages = dict(of_kind("AWS::ApiGatewayV2::Stage")).values()
    written |= {stage["AccessLogSettings"]["DestinationArn"]["Fn::GetAtt"][0] for stage in stages}
    assert written == set(groups)


def test_where_failed_invocations_end_an_alarm_watches() -> None:
    """What TrainerLambda fails at LaunchLambda is told of; what that fails at lies in the queue."""
    ends = {
        resolved(config["DestinationConfig"]["OnFailure"]["Destination"])
        for _, config in of_kind("AWS::Lambda::EventInvokeConfig")
    }
    watched = {resolved(alarm["Dimensions"][0]["Value"]) for _, alarm in of_kind("AWS::CloudWatch::Alarm")}
    assert ends == {"LaunchLambda.Arn", "DeadLetters.Arn"}
    assert watched == {"DeadLetters.QueueName"}
    for _, alarm in of_kind("AWS::CloudWatch::Alarm"):
        assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (0, "GreaterThanThreshold")
        assert alarm["AlarmActions"] == {
            "Fn::If": ["AlarmIsHeard", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]
        }
