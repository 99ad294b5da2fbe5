"""The templates: accepted by cfn-lint, no wider than they must be, and of one mind with the code that reads them."""

from __future__ import annotations

import json

import pytest
from cfnlint.api import lint
from template_logic import BUCKET, TEMPLATES, TEXTS, as_list, holds, resolved, resources

from snn_client.stack import options as stack_options
from snn_cloud.aws import places

CACHE_VARIABLES = {"CACHE_HOST", "CACHE_PORT", "CACHE_TLS", "CACHE_USER", "CACHE_NAME"}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_cfn_lint_finds_nothing(name: str) -> None:
    found = lint(TEXTS[name], regions=["us-east-1", "eu-central-1"])
    assert [f"{match.rule.id} line {match.linenumber}: {match.message}" for match in found] == []


def test_cfn_lint_would_find_a_misspelt_property() -> None:
    assert [match.rule.id for match in lint(TEXTS["cache"].replace("NodeType: !Ref", "NodeTyp: !Ref"))] == ["E3002"]


def test_no_template_silences_cfn_lint() -> None:
    for text in TEXTS.values():
        assert "cfn-lint" not in text


def test_the_root_template_can_be_sent_with_the_request() -> None:
    assert len(TEXTS["root"].encode()) <= 51_200


def test_without_a_cache_there_is_no_network_and_no_cache() -> None:
    root = TEMPLATES["root"]["Resources"]
    conditional = {name for name, resource in root.items() if resource.get("Condition") == "UseCache"}
    assert conditional == {"Network", "Cache"}
    assert set(root) == {"Network", "Cache", "Training", "Features", "Predict", "Events", "Notifications", "Notebook"}
    assert not holds("UseCache", TEMPLATES["root"], {"WithCache": "false"})
    without = {"WithCache": "false", "CacheUser": "", "LayerArn": "", "SecureTransport": "true"}
    assert not [kind for kind in resources("training", **without) if kind.startswith(("AWS::EC2", "AWS::ElastiCache"))]
    for function in ("TrainerLambda", "NeuronLambda"):
        condition, _, otherwise = TEMPLATES["training"]["Resources"][function]["Properties"]["VpcConfig"]["Fn::If"]
        assert not holds(condition, TEMPLATES["training"], without)
        assert otherwise == {"Ref": "AWS::NoValue"}
    assert "AWS::IAM::ManagedPolicy" not in resources("training", **without)


def test_feature_lambda_is_there_only_for_whoever_asked_for_it() -> None:
    root = TEMPLATES["root"]
    assert [name for name, each in root["Resources"].items() if each.get("Condition") == "UseFeatures"] == ["Features"]
    assert root["Parameters"]["WithFeatures"]["Default"] == str(stack_options.StackOptions().with_features).lower()
    assert not holds("UseFeatures", root, {"WithFeatures": "false"})
    assert holds("UseFeatures", root, {"WithFeatures": "true"})
    assert root["Outputs"]["FeatureFunction"]["Value"] == {
        "Fn::If": ["UseFeatures", {"Fn::GetAtt": ["Features", "Outputs.Function"]}, ""]
    }
    assert resources("features", PermissionsBoundary="") == {
        "AWS::IAM::Role",
        "AWS::Lambda::Function",
        "AWS::Lambda::LayerVersion",
        "AWS::Logs::LogGroup",
    }


def test_the_endpoint_has_one_door_or_none() -> None:
    """A signature is asked for by Lambda, a token by the API; only where a key was asked for may anybody call."""
    root = TEMPLATES["root"]
    assert [name for name, each in root["Resources"].items() if each.get("Condition") == "UseEndpoint"] == ["Predict"]
    assert not holds("UseEndpoint", root, {"Endpoint": "none"})
    base = {"AWS::IAM::Role", "AWS::Lambda::Function", "AWS::Lambda::LayerVersion", "AWS::Logs::LogGroup"}
    base |= {"AWS::Events::Rule", "AWS::Lambda::Permission"}  # the daily check
    api = {f"AWS::ApiGatewayV2::{kind}" for kind in ("Api", "Authorizer", "Integration", "Route", "Stage")}
    settings = {"PermissionsBoundary": "", "Concurrency": 0}
    url = {"AWS::Lambda::Url"}
    assert resources("predict", Endpoint="iam", **settings) == base | url
    assert resources("predict", Endpoint="key", **settings) == base | url
    assert resources("predict", Endpoint="jwt", **settings) == base | api
    predict = TEMPLATES["predict"]["Resources"]
    assert predict["Url"]["Properties"]["AuthType"] == {"Fn::If": ["ByIam", "AWS_IAM", "NONE"]}
    routes = [each["Properties"] for each in predict.values() if each["Type"] == "AWS::ApiGatewayV2::Route"]
    assert {(route["RouteKey"], route["AuthorizationType"]) for route in routes} == {
        ("POST /invocations", "JWT"),
        ("GET /ping", "JWT"),
    }
    anybody = {name for name, each in predict.items() if each["Properties"].get("Principal") == "*"}
    assert {predict[name]["Condition"] for name in anybody} == {"ByKey"}


def test_events_are_told_only_where_somebody_asked_for_them() -> None:
    root = TEMPLATES["root"]
    assert [name for name, each in root["Resources"].items() if each.get("Condition") == "UseEvents"] == ["Events"]
    assert not holds("UseEvents", root, {"WithEvents": "false"})
    stream = TEMPLATES["training"]["Resources"]["Ledger"]["Properties"]["StreamSpecification"]
    assert stream == {"Fn::If": ["UseEvents", {"StreamViewType": "NEW_AND_OLD_IMAGES"}, {"Ref": "AWS::NoValue"}]}
    mapping = TEMPLATES["events"]["Resources"]["Changes"]["Properties"]
    patterns = [json.loads(each["Pattern"]) for each in mapping["FilterCriteria"]["Filters"]]
    assert [each["dynamodb"]["Keys"]["item"]["S"] for each in patterns] == [
        ["run"],
        [{"prefix": "version#"}],
        ["champion"],
        [{"prefix": "drift#"}],
    ]


def test_features_and_travelling_photos_expire_and_backbones_stay() -> None:
    rules = TEMPLATES["training"]["Resources"]["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    assert {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules if "ExpirationInDays" in rule} == {
        places.FEATURES: 90,
        places.PHOTOS: 1,
    }
    assert {rule["Status"] for rule in rules} == {"Enabled"}
    assert places.features_of("d", mirrored=True).startswith(places.FEATURES)
    assert places.photo("p").startswith(places.PHOTOS)
    kept = (places.backbone("a"), places.backbone_model("ab"), places.UPLOAD_PREFIX, "runs/", "predict_input/")
    assert not [place for place in kept if place.startswith((places.FEATURES, places.PHOTOS))]


def test_launch_lambda_is_never_in_the_vpc() -> None:
    assert "VpcConfig" not in TEMPLATES["training"]["Resources"]["LaunchLambda"]["Properties"]


def test_a_key_of_our_own_is_paid_for_only_when_somebody_gets_mail() -> None:
    free = {"AWS::SNS::Topic", "AWS::SNS::TopicPolicy"}
    assert resources("notifications", Email="") == free
    assert resources("notifications", Email="a@b.example") == free | {
        "AWS::KMS::Key",
        "AWS::SNS::Subscription",
    }


def test_nested_stacks_get_exactly_the_parameters_they_ask_for() -> None:
    for name in ("Network", "Cache", "Training", "Features", "Predict", "Events", "Notifications", "Notebook"):
        given = TEMPLATES["root"]["Resources"][name]["Properties"]["Parameters"]
        assert set(given) == set(TEMPLATES[name.lower()]["Parameters"]), name


def test_options_and_parameters_allow_the_same() -> None:
    for name in ("root", "training", "features", "predict", "events"):
        parameters = TEMPLATES[name]["Parameters"]
        assert tuple(parameters["Runtime"]["AllowedValues"]) == stack_options.RUNTIMES
        assert tuple(parameters["Architecture"]["AllowedValues"]) == stack_options.ARCHITECTURES
        assert tuple(parameters["LogRetentionDays"]["AllowedValues"]) == stack_options.LOG_RETENTION_DAYS
    defaults = stack_options.StackOptions()
    root = TEMPLATES["root"]["Parameters"]
    assert root["Runtime"]["Default"] == defaults.runtime
    assert root["Architecture"]["Default"] == defaults.architecture
    assert root["CacheNodeType"]["Default"] == defaults.cache_node_type
    assert root["NeuronConcurrency"]["Default"] == defaults.neuron_concurrency
    assert root["LogRetentionDays"]["Default"] == defaults.log_retention_days
    assert root["NotebookInstanceType"]["Default"] == defaults.notebook_instance_type
    assert tuple(sorted(root["Endpoint"]["AllowedValues"])) == tuple(sorted(stack_options.ENDPOINTS))
    assert root["Endpoint"]["Default"] == defaults.endpoint
    assert root["EndpointDailyUsd"]["Default"] == stack_options.template_value(defaults.endpoint_daily_usd)


def test_each_function_gets_exactly_its_variables() -> None:
    functions = {
        name: resource["Properties"]["Environment"]["Variables"]
        for template in ("training", "features", "predict", "events")
        for name, resource in TEMPLATES[template]["Resources"].items()
        if resource["Type"] == "AWS::Lambda::Function"
    }
    assert {name: set(variables) for name, variables in functions.items()} == {
        "LaunchLambda": {"TABLE", "BUCKET", "TOPIC_ARN", "TRAINER_FUNCTION", "HAS_CACHE", "CACHE_NODE_TYPE"}
        | {"TRAINER_MEMORY_MB", "NEURON_MEMORY_MB", "TRAINER_CONCURRENCY"},
        "TrainerLambda": {"TABLE", "BUCKET", "TOPIC_ARN", "NEURON_FUNCTION", "TRAINER_FUNCTION", "NEURON_CONCURRENCY"}
        | CACHE_VARIABLES
        | {"OPENBLAS_NUM_THREADS", "ARCHITECTURE", "CACHE_NODE_TYPE", "REQUIRE_APPROVAL"},
        "NeuronLambda": CACHE_VARIABLES | {"OPENBLAS_NUM_THREADS"},
        "FeatureLambda": {"BUCKET", "OMP_NUM_THREADS"},
        "PredictLambda": {"BUCKET", "TABLE", "TOPIC_ARN", "STACK", "ARCHITECTURE", "DAILY_USD", "KEY_SHA256"}
        | {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"},
        "EventLambda": {"STACK"},
    }
    assert functions["TrainerLambda"]["TRAINER_FUNCTION"] == {"Fn::Sub": "${Prefix}-TrainerLambda"}


def test_launch_lambda_is_told_the_sizes_that_the_functions_have() -> None:
    training = TEMPLATES["training"]["Resources"]
    told = training["LaunchLambda"]["Properties"]["Environment"]["Variables"]
    for function, variable in (("TrainerLambda", "TRAINER_MEMORY_MB"), ("NeuronLambda", "NEURON_MEMORY_MB")):
        size = {"Fn::FindInMap": ["MemoryMB", function, "Size"]}
        assert (training[function]["Properties"]["MemorySize"], told[variable]) == (size, size)


def test_functions_have_the_names_limits_and_logs_that_were_agreed() -> None:
    training, features = TEMPLATES["training"]["Resources"], TEMPLATES["features"]["Resources"]
    predict = TEMPLATES["predict"]["Resources"]
    for template, name, handler, timeout in (
        (training, "LaunchLambda", "launch.handler", 60),
        (training, "TrainerLambda", "trainer.handler", 900),
        (training, "NeuronLambda", "neuron.handler", 60),
        (features, "FeatureLambda", "features.handler", 120),
        (predict, "PredictLambda", "predict.handler", 60),
        (TEMPLATES["events"]["Resources"], "EventLambda", "events.handler", 30),
    ):
        properties = template[name]["Properties"]
        assert properties["FunctionName"] == {"Fn::Sub": f"${{Prefix}}-{name}"}
        assert (properties["Handler"], properties["Timeout"]) == (handler, timeout)
        logs = template[properties["LoggingConfig"]["LogGroup"]["Ref"]]["Properties"]
        assert logs["LogGroupName"] == {"Fn::Sub": f"/aws/lambda/${{Prefix}}-{name}"}
        assert logs["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    # Not the others' layer, which has no ONNX Runtime.
    assert features["FeatureLambda"]["Properties"]["Layers"] == [{"Ref": "FeatureDependencies"}]
    assert features["FeatureLambda"]["Properties"]["MemorySize"] == 1_769  # one whole processor
    # Only the trainer's continuations make the chain Launch -> Trainer -> Neuron longer, with a neuron at its far end.
    chained = {name: training[name]["Properties"].get("RecursiveLoop") for name in training}
    assert {name: loop for name, loop in chained.items() if loop} == dict.fromkeys(
        ("TrainerLambda", "NeuronLambda"), "Allow"
    )


def test_trainers_and_neurons_have_the_reservation_that_was_asked_for_and_no_other() -> None:
    training = TEMPLATES["training"]
    for function, parameter in (
        ("TrainerLambda", "ReservedTrainerConcurrency"),
        ("NeuronLambda", "ReservedNeuronConcurrency"),
    ):
        condition, reserved, otherwise = training["Resources"][function]["Properties"]["ReservedConcurrentExecutions"][
            "Fn::If"
        ]
        none = {"ReservedTrainerConcurrency": "0", "ReservedNeuronConcurrency": "0"}
        assert not holds(condition, training, none)
        assert holds(condition, training, {**none, parameter: "3"})
        assert (reserved, otherwise) == ({"Ref": parameter}, {"Ref": "AWS::NoValue"})
        given = TEMPLATES["root"]["Resources"]["Training"]["Properties"]["Parameters"][parameter]
        assert given == {"Ref": parameter}
        assert TEMPLATES["root"]["Parameters"][parameter]["Default"] == 0
    told = training["Resources"]["LaunchLambda"]["Properties"]["Environment"]["Variables"]
    assert told["TRAINER_CONCURRENCY"] == {"Ref": "ReservedTrainerConcurrency"}


def test_asynchronous_failures_of_trainers_end_with_launch_lambda_and_its_own_in_the_queue() -> None:
    training = TEMPLATES["training"]["Resources"]
    configured = {
        resource["Properties"]["FunctionName"]["Ref"]: resource["Properties"]
        for resource in training.values()
        if resource["Type"] == "AWS::Lambda::EventInvokeConfig"
    }
    assert set(configured) == {"LaunchLambda", "TrainerLambda"}  # neurons are invoked synchronously
    for name, destination, age in (
        ("LaunchLambda", "DeadLetters", 3600),
        ("TrainerLambda", "LaunchLambda", 21_600),  # as long as AWS allows, in which a run waits for others
    ):
        properties = configured[name]
        assert properties["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": [destination, "Arn"]}
        assert (properties["MaximumRetryAttempts"], properties["MaximumEventAgeInSeconds"]) == (2, age)
    alarm = training["DeadLetterAlarm"]["Properties"]
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": {"Fn::GetAtt": ["DeadLetters", "QueueName"]}}]


def test_uploads_go_to_one_listener_each_and_only_this_bucket_fills_the_queue() -> None:
    training = TEMPLATES["training"]["Resources"]
    bucket = training["Bucket"]
    assert set(bucket["DependsOn"]) == {"BucketMayLaunch", "BucketMayTell"}
    listeners = bucket["Properties"]["NotificationConfiguration"]
    told = {
        resolved(entry.get("Function") or entry.get("Queue")): (
            entry["Event"],
            {rule["Name"]: rule["Value"] for rule in entry["Filter"]["S3Key"]["Rules"]},
        )
        for kind in listeners.values()
        for entry in kind
    }
    assert told == {
        "LaunchLambda.Arn": ("s3:ObjectCreated:*", {"prefix": places.UPLOAD_PREFIX, "suffix": ".h5"}),
        "NewData.Arn": ("s3:ObjectCreated:*", {"prefix": places.RETRAINING_PREFIX, "suffix": ".h5"}),
    }
    assert not places.RETRAINING_PREFIX.startswith(places.UPLOAD_PREFIX)
    (statement,) = training["BucketMayTell"]["Properties"]["PolicyDocument"]["Statement"]
    assert statement == {
        "Sid": "BucketTellsOfNewData",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": {"Fn::GetAtt": ["NewData", "Arn"]},
        "Condition": {
            "ArnEquals": {"aws:SourceArn": {"Fn::Sub": BUCKET}},
            "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
        },
    }
    assert training["NewData"]["Properties"]["RedrivePolicy"]["deadLetterTargetArn"] == {
        "Fn::GetAtt": ["NewDataDeadLetters", "Arn"]
    }


def test_the_roles_may_do_this_and_nothing_else() -> None:
    ledger = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
    logs = ["logs:CreateLogStream", "logs:PutLogEvents"]
    expected = {
        "LaunchRole": {
            "WriteLogs": (logs, ["LaunchLogs.Arn"]),
            "ReadInput": (["s3:GetObject", "s3:GetObjectVersion"], [f"{BUCKET}/training_input/*", f"{BUCKET}/runs/*"]),
            "WriteRuns": (["s3:PutObject"], [f"{BUCKET}/runs/*"]),
            "KeepLedger": (ledger, ["Ledger.Arn"]),
            "StartTrainer": (["lambda:InvokeFunction"], ["TrainerLambda.Arn"]),
            "Announce": (["sns:Publish"], ["TopicArn"]),
            "GiveUp": (["sqs:SendMessage"], ["DeadLetters.Arn"]),
        },
        "TrainerRole": {
            "WriteLogs": (logs, ["TrainerLogs.Arn"]),
            "ReadUploads": (["s3:GetObject", "s3:GetObjectVersion"], [f"{BUCKET}/training_input/*"]),
            "ReadAndWriteRuns": (["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"], [f"{BUCKET}/runs/*"]),
            "Promote": (
                ["s3:PutObject"],
                [f"{BUCKET}/training_results/results.json", f"{BUCKET}/predict_input/params.h5"],
            ),
            "KeepLedger": (ledger, ["Ledger.Arn"]),
            "InvokeNeuronsAndContinueItself": (
                ["lambda:InvokeFunction"],
                [
                    "NeuronLambda.Arn",
                    "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${Prefix}-TrainerLambda",
                ],
            ),
            "Announce": (["sns:Publish"], ["TopicArn"]),
            "GiveUp": (
                ["lambda:InvokeFunction"],
                ["arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${Prefix}-LaunchLambda"],
            ),
        },
        "NeuronRole": {"WriteLogs": (logs, ["NeuronLogs.Arn"])},
        "FeatureRole": {
            "WriteLogs": (logs, ["FeatureLogs.Arn"]),
            "ReadBackbonesAndPhotos": (["s3:GetObject"], [f"{BUCKET}/backbones/*", f"{BUCKET}/photos/*"]),
            "WriteFeatures": (["s3:PutObject"], [f"{BUCKET}/features/*"]),
        },
    }
    roles = {
        name: resource
        for template in ("training", "features")
        for name, resource in TEMPLATES[template]["Resources"].items()
        if resource["Type"] == "AWS::IAM::Role"
    }
    actual = {
        name: {
            item["Sid"]: (sorted(as_list(item["Action"])), [resolved(name) for name in as_list(item["Resource"])])
            for policy in role["Properties"]["Policies"]
            for item in policy["PolicyDocument"]["Statement"]
        }
        for name, role in roles.items()
    }
    assert actual == expected
    shared = [
        {"Fn::If": ["UseCache", {"Ref": "MayAttachToVpc"}, {"Ref": "AWS::NoValue"}]},
        {"Fn::If": ["CacheHasLogin", {"Ref": "MayLogInToCache"}, {"Ref": "AWS::NoValue"}]},
    ]
    assert {name: role["Properties"].get("ManagedPolicyArns") for name, role in roles.items()} == {
        "LaunchRole": None,
        "TrainerRole": shared,
        "NeuronRole": shared,
        "FeatureRole": None,
    }


def test_cache_log_in_is_for_one_cache_and_one_user() -> None:
    (statement,) = TEMPLATES["training"]["Resources"]["MayLogInToCache"]["Properties"]["PolicyDocument"]["Statement"]
    place = "arn:${AWS::Partition}:elasticache:${AWS::Region}:${AWS::AccountId}"
    assert statement["Action"] == "elasticache:Connect"
    assert [resolved(item) for item in statement["Resource"]] == [
        f"{place}:replicationgroup:${{CacheName}}",
        f"{place}:user:${{CacheUser}}",
    ]


def test_no_subnet_leads_to_the_internet() -> None:
    kinds = resources("network")
    assert not kinds & {"AWS::EC2::InternetGateway", "AWS::EC2::NatGateway", "AWS::EC2::Route", "AWS::EC2::EIP"}
    endpoints = {
        resource["Properties"]["ServiceName"]["Fn::Sub"].rpartition(".")[2]: resource["Properties"]["VpcEndpointType"]
        for resource in TEMPLATES["network"]["Resources"].values()
        if resource["Type"] == "AWS::EC2::VPCEndpoint"
    }
    assert endpoints == {"s3": "Gateway", "dynamodb": "Gateway", "lambda": "Interface", "sns": "Interface"}
