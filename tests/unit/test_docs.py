"""What README and docs say: every command and snippet is run, every message provoked, every link followed.

Snippets that need AWS run in `tests/integration/test_docs.py`. A fence that no test handles fails here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="snn-airflow-")  # Airflow makes one as soon as it is imported

import cfnlint
import pytest
import typer
import yaml
from documentation import PAGES, ROOT, Fence, anchor, commands, fences, headings, links
from permissions import DOCUMENTED
from provoked import ON_A_STACK, WITHOUT_SERVERS, as_quoted, quotes
from role_needs import NEEDED, is_about

from snn_cli import datasets, parameters_page
from snn_cli.main import app
from snn_client.runs.estimate import Machine, estimate
from snn_client.runs.lists import Shortened
from snn_client.serving.asking import Answer, Prediction
from snn_client.stack.cleanup_plan import Names
from snn_client.stack.options import StackOptions
from snn_cloud.cost import prices
from snn_cloud.cost.workload import Size
from snn_cloud.ledger.parameters import Parameters
from snn_photos.preprocessing import Preprocessing

DOCS = ROOT / "docs"
RUN_BY = {
    "sh": "test_shell_lines",
    "python": "test_a_dag_is_one, or the integration tests",
    "json": "test_json",
    "text": "test_a_message",
    "mermaid": "test_diagrams",
    "math": "test_formulas",
    "{toctree}": "make docs",
}
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
VARIABLES = set(re.findall(r"\$\((?:or )?\$?\(?([A-Z_]+)", (ROOT / "Makefile").read_text())) | {"PYTHON"}
named = pytest.mark.parametrize


def test_every_fence_is_in_a_language_that_a_test_runs() -> None:
    assert len(fences()) > 40
    assert [f"{fence}: {fence.language or 'no language'}" for fence in fences() if fence.language not in RUN_BY] == []


# ---- shell -----------------------------------------------------------------------------------------------------------


@named("fence", fences("sh"), ids=str)
def test_shell_lines(fence: Fence) -> None:
    for words in commands(fence.text):
        check = CHECKS.get(words[0])
        assert check, f"{fence}: no test knows {words[0]!r}"
        check(words[1:])


def check_make(words: list[str]) -> None:
    for word in words:
        name, is_variable, _ = word.partition("=")
        assert name in (VARIABLES if is_variable else TARGETS), word


def check_snn(words: list[str]) -> None:
    """Parse as Typer does, without running: names of commands and options, their types, what must be given."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words, f"snn {command.name} is no whole command"
        assert words[0] in command.commands, words[0]
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, list(words))


def check_airflow(words: list[str]) -> None:
    from airflow.cli.cli_parser import get_parser

    get_parser().parse_args(words)


def check_docker(words: list[str]) -> None:
    """There is no Docker here: what Compose's own help lists of the two commands that the pages use."""
    compose, command, *options = words
    assert (compose, command) in {("compose", "up"), ("compose", "down")}, words
    assert set(options) <= {"up": {"--build", "--detach", "--wait"}, "down": {"--volumes"}}[command], words


def check_eval(words: list[str]) -> None:
    (inner,) = words
    (command,) = commands(inner.removeprefix("$(").removesuffix(")"))
    assert command[0] == "snn"
    check_snn(command[1:])


def check_curl(words: list[str]) -> None:
    """The signed one is run in tests/integration/test_endpoint_callers.py; of all, options and the address."""
    *options, address = words
    assert {word for word in options if word.startswith("-")} <= {"--aws-sigv4", "--user", "--header", "--data-binary"}
    check_eval([address.removesuffix("/invocations")])


CHECKS = {
    "curl": check_curl,
    "make": check_make,
    "snn": check_snn,
    "airflow": check_airflow,
    "docker": check_docker,
    "eval": check_eval,
}


@named(
    "line", ["make nothing", "make demo EPOCH=3", "snn trian", "snn local up --port x", "snn dataset check", "rm -rf /"]
)
def test_a_line_that_does_not_work_is_noticed(line: str) -> None:
    fence = Fence(ROOT / "README.md", 1, "sh", line, "")
    usage_error = typer.BadParameter.__mro__[1]
    with pytest.raises((AssertionError, usage_error)):
        test_shell_lines(fence)


# ---- Python, JSON ----------------------------------------------------------------------------------------------------


def is_dag(fence: Fence) -> bool:
    return "with DAG(" in fence.text


@named("fence", [fence for fence in fences("python") if is_dag(fence)], ids=str)
def test_a_dag_is_one(fence: Fence) -> None:
    names: dict[str, Any] = {}
    exec(compile(fence.text, str(fence), "exec"), names)
    names["dag"].check_cycle()
    assert names["dag"].task_ids


@named("fence", fences("json"), ids=str)
def test_json(fence: Fence) -> None:
    given = json.loads(fence.text)
    if "whole" in given:
        assert given.keys() == Shortened.__annotations__.keys()
        return
    if "predictions" in given:  # tests/integration/test_endpoint_callers.py compares it with an answer
        assert given.keys() == Answer.__annotations__.keys()
        return
    if "height" in given:
        assert Preprocessing.load(fence.text, str(fence)).model_dump().items() >= given.items()
        return
    if "prediction" in given:
        assert set(given["prediction"]) <= set(Prediction.__annotations__)
        return
    assert "epochs" in given, "no test knows what this is"
    Parameters.load(given)


def test_the_table_of_parameters_is_whole() -> None:
    page = (DOCS / "parameters.md").read_text()
    assert page == parameters_page.page(), "make docs"
    assert set(re.findall(r"^\| `(\w+)` \|", page, flags=re.M)) >= set(Parameters.model_fields)


def test_the_table_of_options_is_whole() -> None:
    page = (DOCS / "aws.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+)", page, flags=re.M))
    options = {option.name: option.default for option in fields(StackOptions) if option.name != "given"}
    assert set(rows) == set(options)
    for name, shown in rows.items():
        assert shown == f"`{options[name]}`" if shown.startswith("`") else not options[name] or name == "tags", name


# ---- messages --------------------------------------------------------------------------------------------------------


def test_every_fault_is_provoked_and_quotes_a_message() -> None:
    page = DOCS / "troubleshooting.md"
    sections = {
        title
        for title in headings(page)
        if title not in ("Troubleshooting", "Parameters and data", "Runs", "The stack")
    }
    assert sections == set(WITHOUT_SERVERS) | set(ON_A_STACK) == set(quotes())


def test_outputs_are_quoted_only_where_a_test_compares_them() -> None:
    quoted = {str(fence.page.relative_to(ROOT)) for fence in fences("text")}
    # operators, quickstart: tests/integration/test_docs.py, on a stack; judging: tests/unit/cloud/test_challenge.py;
    # drift: tests/unit/drift/test_page.py.
    compared = {"troubleshooting", "judging", "operators", "quickstart", "drift"}
    assert quoted <= {"datasets/README.md", *(f"docs/{name}.md" for name in compared)}


def test_what_a_check_of_a_data_set_prints(tmp_path: Path) -> None:
    (shown,) = [fence.text for fence in fences("text") if fence.page == ROOT / "datasets" / "README.md"]
    itsacats = ROOT.parent / "shared" / "datasets" / "datasets.h5"
    if itsacats.exists():
        assert datasets.describe(itsacats).replace(str(itsacats), itsacats.name) == shown.strip()
    datasets.build_faces(tmp_path / "faces.h5")
    printed = datasets.describe(tmp_path / "faces.h5")
    assert [line.split()[0] for line in printed.splitlines()] == [line.split()[0] for line in shown.splitlines()]


@named("title", WITHOUT_SERVERS)
def test_a_message(title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = WITHOUT_SERVERS[title](tmp_path, monkeypatch)
    assert re.search(as_quoted(quotes()[title]), outcome), outcome


# ---- links, diagrams, formulas ---------------------------------------------------------------------------------------


@named("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"https?://", link):
            continue
        place, _, name = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        assert ROOT in (target, *target.parents), link
        if name:
            assert name in {anchor(heading) for heading in headings(target)}, link


def test_the_site_links_to_nothing_that_is_not_committed() -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    known = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    files = {ROOT / name for name in known.stdout.splitlines()}
    folders = {parent for file in files for parent in file.parents}
    for page in PAGES:
        for link in links(page):
            if not re.match(r"https?://|#", link):
                assert (page.parent / link.partition("#")[0]).resolve() in files | folders, f"{page}: {link}"


@named("fence", fences("mermaid"), ids=str)
def test_diagrams(fence: Fence) -> None:
    first = fence.text.split()[0]
    assert first in ("flowchart", "sequenceDiagram", "stateDiagram-v2")
    text = re.sub(r'"[^"\n]*"', "", fence.text)
    assert '"' not in text
    opened = len(re.findall(r"^\s*(?:subgraph|loop|alt|opt)\b", text, flags=re.M))
    assert opened == len(re.findall(r"^\s*end\s*$", text, flags=re.M))
    for left, right in ("[]", "()", "{}") if first == "flowchart" else ():  # elsewhere "-)" is an arrow
        assert text.count(left) == text.count(right)


@named("fence", fences("math"), ids=str)
def test_formulas(fence: Fence) -> None:
    from matplotlib.mathtext import MathTextParser

    for formula in re.sub(r"\\q?quad", r"\n", fence.text).split("\n"):
        if formula.strip():
            MathTextParser("path").parse(f"${formula.strip()}$")


# ---- money and permissions -------------------------------------------------------------------------------------------


def test_what_a_stack_costs() -> None:
    page, hours = (DOCS / "aws.md").read_text(), 730
    assert f"| cache node `cache.t4g.micro` | {prices.CACHE_NODE_HOUR['cache.t4g.micro'].usd * hours:.2f} |" in page
    assert f"| two interface endpoints | {2 * prices.ENDPOINT_HOUR.usd * hours:.2f} |" in page
    dearer = prices.LAMBDA_GB_SECOND["x86_64"].usd / prices.LAMBDA_GB_SECOND["arm64"].usd
    assert dearer == pytest.approx(1.25, abs=0.001)  # a quarter dearer
    assert "\n".join(cost_rows()) in page


def cost_rows() -> list[str]:
    names = [f"layer{number}" for number in range(1, 5)]
    network = {
        "epochs": 3_000,
        "layers": 4,
        "neurons": dict(zip(names, (20, 7, 5, 1), strict=True)),
        "activations": dict.fromkeys(names, "relu") | {"layer4": "sigmoid"},
        "learning_rate": 0.0075,
    }
    rows = []
    for what, more in (
        ("`batch`, full batch", {}),
        ("`batch`, four mini-batches", {"batch_size": 53}),
        ("`layer`, four mini-batches", {"batch_size": 53, "granularity": "layer"}),
        ("`neuron`, four mini-batches", {"batch_size": 53, "granularity": "neuron"}),
    ):
        most = estimate(
            Parameters.load({**network, **more}), Size(12_288, 209), Machine(has_cache="granularity" in more)
        )
        usd = f"{most['usd']:.4f}" if most["usd"] < 0.01 else f"{most['usd']:.2f}"
        rows.append(f"| {what} | {sum(most['invocations'].values()):,} | {most['seconds'] / 3600:.3f} | {usd} |")
    return rows


def statements(policy: Path) -> list[dict[str, Any]]:
    return list(json.loads(policy.read_text())["Statement"])


def actions(statement: dict[str, Any]) -> list[str]:
    given = statement["Action"]
    return [given] if isinstance(given, str) else list(given)


# What AWS's resource schemas ask for the sake of properties that the templates do not use.
NOT_USED = (
    "kinesis:*", "firehose:*", "s3tables:*", "vpc-lattice:*", "vpce:*", "elasticfilesystem:*", "s3files:*",
    "ec2:CreateVpcEncryptionControl", "ec2:ModifyVpcTenancy", "ec2:*SubnetCidrBlock",  # IPv6, dedicated hosts
    "elasticache:CreateSnapshot", "elasticache:*ReplicaCount", "elasticache:*CacheCluster",  # replicas
    "elasticache:ModifyReplicationGroupShardConfiguration",
    "logs:*LogDelivery", "logs:PutResourcePolicy", "logs:DeleteResourcePolicy", "s3:REST.PUT.OBJECT",
    "iam:Attach*Group*", "iam:Attach*User*", "iam:Detach*Group*", "iam:Detach*User*",
    "kms:GenerateDataKey", "kms:ListAliases", "kms:DisableKeyRotation", "kms:EnableKey",
    "cloudformation:SetStackPolicy", "cloudformation:UpdateTerminationProtection",
)  # fmt: skip


# CloudFormation asks for these when it passes a stack's tags on, which is in no resource's schema.
FOR_TAGS = {"cloudformation:TagResource", "cloudformation:UntagResource"}


def asked_by_cloudformation() -> set[tuple[str, str]]:
    """Return (type of resource, action) of all that AWS says CloudFormation needs for what is in the templates."""
    data = Path(str(cfnlint.__file__)).parent / "data" / "schemas"
    schemas = json.loads((data / "providers" / "us-east-1.json").read_text())
    types = {
        kind
        for template in (ROOT / "cloudformation").glob("*.yaml")
        for kind in re.findall(r"Type: (AWS::\w+::\w+)$", template.read_text(), flags=re.M)
    }
    assert len(types) > 20
    found = set()
    for kind in types:
        schema = json.loads((data / "resources" / f"{schemas[kind]}.json".replace(".json.json", ".json")).read_text())
        for name in ("create", "read", "update", "delete"):
            for action in schema.get("handlers", {}).get(name, {}).get("permissions", []):
                found.add((kind, action))
    return found


def test_the_deployers_policy_has_what_aws_says_that_each_resource_needs() -> None:
    allowed = [action for statement in statements(DOCS / "deployer-policy.json") for action in actions(statement)]
    assert {
        f"{kind}: {action}"
        for kind, action in asked_by_cloudformation()
        if not any(fnmatchcase(action, pattern) for pattern in (*allowed, *NOT_USED))
    } == set()


def test_the_deployers_policy_has_nothing_else_but_what_snn_asks_itself() -> None:
    """What `snn` asks is taken away, action by action, in tests/integration/test_roles_denied.py."""
    asked = {action for _, action in asked_by_cloudformation()} | FOR_TAGS
    assert [
        str(permission)
        for permission in DOCUMENTED["deployer"]
        if not any(is_about(row, permission) for row, *_ in NEEDED)
        and not any(fnmatchcase(action, permission.action) for action in asked)
    ] == []


def test_an_operator_reaches_the_data_of_one_stack_and_no_code() -> None:
    """What is deployed next, and run with the deployer's rights, comes from the artifact bucket."""
    (pattern,) = {
        str(statement["Resource"])
        for statement in statements(DOCS / "operator-policy.json")
        if any(action.startswith("s3:") for action in actions(statement))
    }
    for stack in ("snn", "snn-two"):
        names = Names(stack, "123456789012", "eu-west-1")
        for place in ("", "/runs/faces-1/input/parameters.json"):
            assert fnmatchcase(f"arn:aws:s3:::{names.bucket}{place}", pattern) is (stack == "snn"), stack
            assert not fnmatchcase(f"arn:aws:s3:::{names.artifact_bucket}{place}", pattern), stack


class Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms as lists of what they hold."""


Loader.add_multi_constructor("!", lambda loader, suffix, node: [suffix, getattr(node, "value", "")])


def test_what_each_function_may_do_is_in_the_table() -> None:
    resources = {}
    for template in ("training", "features"):
        resources |= yaml.load((ROOT / "cloudformation" / f"{template}.yaml").read_text(), Loader)["Resources"]
    rows = re.findall(r"^\| (.+?) \| (`\w+:.+?) \|", (DOCS / "security.md").read_text(), flags=re.M)
    for function in ("LaunchLambda", "TrainerLambda", "NeuronLambda", "FeatureLambda"):
        told = {
            action
            for who, what in rows
            if function in who or who == "all four"
            for action in re.findall(r"`(\w+:\w+)`", what)
        }
        role = resources[f"{function.removesuffix('Lambda')}Role"]["Properties"]
        may = {
            action
            for policy in role["Policies"]
            for statement in policy["PolicyDocument"]["Statement"]
            for action in actions(statement)
        }
        if "ManagedPolicyArns" in role:
            may.add("elasticache:Connect")
        assert told == may, function


def test_the_reference_is_of_what_is_there() -> None:
    """What the site's settings name has not moved."""
    conf = (DOCS / "conf.py").read_text()
    for folder in re.findall(r'"((?:lambda_functions|plugins)/\w+)"', conf):
        assert (ROOT / folder / "__init__.py").is_file()
    assert sys.version_info >= (3, 11)
