"""notebook.yaml: an instance where it belongs, that may do what the notebooks need and nothing else."""

from __future__ import annotations

from typing import Any

from template_logic import BUCKET, TEMPLATES, as_list, holds, resolved, resources

from snn_client.stack.artifacts import NOTEBOOK_PREFIX
from snn_client.stack.belongings import NOTEBOOK_LOGS

NOTEBOOK = TEMPLATES["notebook"]
PLACE = "arn:${AWS::Partition}:{}:${AWS::Region}:${AWS::AccountId}:"
IN_VPC = {"WithCache": "true", "CacheUser": "snn-functions"}
ALONE = {"WithCache": "false", "CacheUser": ""}


def arn(service: str, rest: str) -> str:
    return PLACE.replace("{}", service) + rest


def chosen(node: Any, parameters: dict[str, str]) -> Any:
    """Return what an !If comes to."""
    condition, yes, no = node["Fn::If"]
    return yes if holds(condition, NOTEBOOK, parameters) else no


def allowed(policies: list[dict[str, Any]]) -> dict[str, tuple[list[str], list[str]]]:
    return {
        item["Sid"]: (sorted(as_list(item["Action"])), [resolved(name) for name in as_list(item["Resource"])])
        for policy in policies
        for item in policy["Statement"]
    }


def test_there_is_none_unless_it_is_wanted() -> None:
    root = TEMPLATES["root"]
    assert root["Parameters"]["WithNotebook"]["Default"] == "false"
    assert root["Resources"]["Notebook"]["Condition"] == "UseNotebook"
    assert not holds("UseNotebook", root, {"WithNotebook": "false"})
    assert holds("UseNotebook", root, {"WithNotebook": "true"})
    others = [name for name in TEMPLATES if name != "notebook" and "AWS::SageMaker" in str(TEMPLATES[name])]
    assert others == []


def test_with_a_cache_it_stands_in_the_functions_subnet_and_group_else_in_none() -> None:
    instance = NOTEBOOK["Resources"]["Instance"]["Properties"]
    assert chosen(instance["SubnetId"], IN_VPC) == {"Ref": "SubnetId"}
    assert chosen(instance["SecurityGroupIds"], IN_VPC) == [{"Ref": "SecurityGroupId"}]
    nothing = {"Ref": "AWS::NoValue"}
    assert (chosen(instance["SubnetId"], ALONE), chosen(instance["SecurityGroupIds"], ALONE)) == (nothing, nothing)
    given = TEMPLATES["root"]["Resources"]["Notebook"]["Properties"]["Parameters"]
    subnets = {"Fn::Split": [",", {"Fn::GetAtt": ["Network", "Outputs.SubnetIds"]}]}
    assert given["SubnetId"] == {"Fn::If": ["UseCache", {"Fn::Select": [0, subnets]}, ""]}
    group = {"Fn::GetAtt": ["Network", "Outputs.FunctionSecurityGroupId"]}
    assert given["SecurityGroupId"] == {"Fn::If": ["UseCache", group, ""]}
    # The group that it shares with the functions lets nothing in, and the cache lets this group in.
    network = TEMPLATES["network"]["Resources"]
    assert "SecurityGroupIngress" not in network["FunctionSecurityGroup"]["Properties"]
    (rule,) = network["CacheSecurityGroup"]["Properties"]["SecurityGroupIngress"]
    assert rule["SourceSecurityGroupId"] == {"Ref": "FunctionSecurityGroup"}


def test_nobody_is_root_there_and_the_role_s_credentials_take_a_session() -> None:
    instance = NOTEBOOK["Resources"]["Instance"]["Properties"]
    assert instance["RootAccess"] == "Disabled"
    assert instance["InstanceMetadataServiceConfiguration"] == {"MinimumInstanceMetadataServiceVersion": "2"}
    assert instance["RoleArn"] == {"Fn::GetAtt": ["Role", "Arn"]}
    (trust,) = NOTEBOOK["Resources"]["Role"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "sagemaker.amazonaws.com"}


def test_it_may_do_this_and_nothing_else() -> None:
    role = NOTEBOOK["Resources"]["Role"]["Properties"]
    group = arn("logs", f"log-group:{NOTEBOOK_LOGS}")
    assert allowed([policy["PolicyDocument"] for policy in role["Policies"]]) == {
        "FetchPackage": (["s3:GetObject"], [f"arn:${{AWS::Partition}}:s3:::${{ArtifactBucket}}/{NOTEBOOK_PREFIX}*"]),
        "FindTheStack": (["cloudformation:DescribeStacks"], [arn("cloudformation", "stack/${Prefix}/*")]),
        "ListRuns": (["s3:ListBucket"], [BUCKET]),
        "ReadResults": (
            ["s3:GetObject"],
            [
                f"{BUCKET}/{prefix}/*"
                for prefix in ("runs", "training_input", "training_results", "predict_input", "backbones", "features")
            ],
        ),
        "StageAndReport": (["s3:PutObject"], [f"{BUCKET}/{prefix}/*" for prefix in ("runs", "photos")]),
        "WatchRuns": (["dynamodb:GetItem", "dynamodb:Query"], [arn("dynamodb", "table/${Prefix}-runs")]),
        "LaunchRunsAndAskNeurons": (
            ["lambda:InvokeFunction"],
            [arn("lambda", f"function:${{Prefix}}-{name}") for name in ("LaunchLambda", "NeuronLambda")],
        ),
        "ComputeFeatures": (["lambda:InvokeFunction"], [arn("lambda", "function:${Prefix}-FeatureLambda")]),
        "WriteLogs": (
            ["logs:CreateLogStream", "logs:PutLogEvents"],
            [f"{group}:log-stream:${{Prefix}}-notebook/*"],
        ),
        "MakeTheGroupOfLogs": (["logs:CreateLogGroup"], [group]),
    }
    (listing,) = [item for item in role["Policies"][0]["PolicyDocument"]["Statement"] if item["Sid"] == "ListRuns"]
    listed = ["runs/*", "training_results/*", "predict_input/*", "backbones/*", "features/*"]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": listed}}


def test_the_cache_and_the_network_are_allowed_only_where_they_are() -> None:
    resource = NOTEBOOK["Resources"]
    attached = [chosen(item, ALONE) for item in resource["Role"]["Properties"]["ManagedPolicyArns"]]
    assert attached == [{"Ref": "AWS::NoValue"}] * 2
    assert "AWS::IAM::ManagedPolicy" not in resources("notebook", **ALONE)
    attached = [chosen(item, IN_VPC) for item in resource["Role"]["Properties"]["ManagedPolicyArns"]]
    assert attached == [{"Ref": "MayAttachToVpc"}, {"Ref": "MayLogInToCache"}]
    training = TEMPLATES["training"]["Resources"]["MayLogInToCache"]["Properties"]["PolicyDocument"]
    assert resource["MayLogInToCache"]["Properties"]["PolicyDocument"] == training
    interfaces = arn("ec2", "network-interface/*")
    subnet = arn("ec2", "subnet/${SubnetId}")
    policy = resource["MayAttachToVpc"]["Properties"]["PolicyDocument"]
    assert allowed([policy]) == {
        "MakeTheInterface": (
            ["ec2:CreateNetworkInterface"],
            [interfaces, subnet, arn("ec2", "security-group/${SecurityGroupId}")],
        ),
        "HandTheInterfaceOver": (
            [
                "ec2:CreateNetworkInterfacePermission",
                "ec2:DeleteNetworkInterface",
                "ec2:DeleteNetworkInterfacePermission",
            ],
            [interfaces],
        ),
        "LookAtTheNetwork": (
            [
                f"ec2:Describe{what}"
                for what in ("DhcpOptions", "NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs")
            ],
            ["*"],
        ),
    }
    assert policy["Statement"][1]["Condition"] == {"ArnEquals": {"ec2:Subnet": {"Fn::Sub": subnet}}}


def test_the_script_is_within_sagemakers_limit() -> None:
    (hook,) = NOTEBOOK["Resources"]["Lifecycle"]["Properties"]["OnStart"]
    assert len(hook["Content"]["Fn::Base64"]["Fn::Sub"]) * 4 / 3 + 600 < 16_384  # in base64, with names filled in
