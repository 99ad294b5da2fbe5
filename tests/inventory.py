"""All that there is in an account of the emulator, asked of each service's own API."""

from __future__ import annotations

from typing import Any

from snn_cloud.aws.clients import Clients

Inventory = dict[str, set[str]]


def inventory(clients: Clients) -> Inventory:
    """Return the names of all things, by kind."""
    client: Any = clients._make
    ec2, iam, cache, lambdas = client("ec2"), client("iam"), client("elasticache"), client("lambda")
    stacks = client("cloudformation").describe_stacks()["Stacks"]
    return {
        "stacks": {item["StackName"] for item in stacks if item["StackStatus"] != "DELETE_COMPLETE"},
        "buckets": {item["Name"] for item in client("s3").list_buckets()["Buckets"]},
        "tables": set(client("dynamodb").list_tables()["TableNames"]),
        "functions": {item["FunctionName"] for item in lambdas.list_functions()["Functions"]},
        "layers": {item["LayerName"] for item in lambdas.list_layers()["Layers"]},
        "streams that call functions": {
            item["UUID"] for item in lambdas.list_event_source_mappings()["EventSourceMappings"]
        },
        "APIs": {item["ApiId"] for item in client("apigatewayv2").get_apis()["Items"]},
        "queues": set(client("sqs").list_queues().get("QueueUrls", [])),
        "topics": {item["TopicArn"] for item in client("sns").list_topics()["Topics"]},
        "alarms": {item["AlarmName"] for item in client("cloudwatch").describe_alarms()["MetricAlarms"]},
        "log groups": {item["logGroupName"] for item in client("logs").describe_log_groups()["logGroups"]},
        "roles": {item["RoleName"] for item in iam.list_roles()["Roles"]},
        "policies": {item["Arn"] for item in iam.list_policies(Scope="Local")["Policies"]},
        "networks": {item["VpcId"] for item in ec2.describe_vpcs()["Vpcs"]},
        "subnets": {item["SubnetId"] for item in ec2.describe_subnets()["Subnets"]},
        "security groups": {item["GroupId"] for item in ec2.describe_security_groups()["SecurityGroups"]},
        "endpoints": {item["VpcEndpointId"] for item in ec2.describe_vpc_endpoints()["VpcEndpoints"]},
        "caches": {item["ReplicationGroupId"] for item in cache.describe_replication_groups()["ReplicationGroups"]},
        "cache subnets": {
            item["CacheSubnetGroupName"] for item in cache.describe_cache_subnet_groups()["CacheSubnetGroups"]
        },
    }


def contents(clients: Clients, there: Inventory) -> dict[str, Any]:
    """Return what is in these buckets, tables, log groups and functions."""
    found: dict[str, Any] = {}
    for bucket in there["buckets"]:
        found[f"bucket {bucket}"] = versions(clients, bucket)
        found[f"notifications {bucket}"] = {
            **clients.s3.get_bucket_notification_configuration(Bucket=bucket),
            "ResponseMetadata": None,
        }
    for table in there["tables"]:
        pages = clients.dynamodb.get_paginator("scan").paginate(TableName=table)
        found[f"table {table}"] = sorted(str(item) for page in pages for item in page["Items"])
    for group in there["log groups"]:
        events = clients.logs.get_paginator("filter_log_events").paginate(logGroupName=group)
        found[f"log group {group}"] = [event["message"] for page in events for event in page["events"]]
    for function in there["functions"]:
        about: Any = clients.lambda_.get_function(FunctionName=function)
        found[f"function {function}"] = (about["Configuration"], about.get("Concurrency"))
    return found


def versions(clients: Clients, bucket: str) -> list[tuple[str, str, int]]:
    """Return (key, version, bytes) of all versions in a bucket, delete markers included with -1 bytes."""
    pages = list(clients.s3.get_paginator("list_object_versions").paginate(Bucket=bucket))
    kept = [(item["Key"], item["VersionId"], item["Size"]) for page in pages for item in page.get("Versions", [])]
    marks = [(item["Key"], item["VersionId"], -1) for page in pages for item in page.get("DeleteMarkers", [])]
    return sorted(kept + marks)
