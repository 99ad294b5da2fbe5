"""What a form, a command line or the environment may ask of the stack."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from snn.errors import InvalidInput
from snn_client.stack import options as stack_options
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_client.stack.status import StackStatus


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in StackOptions.__dataclass_fields__:
        monkeypatch.delenv(f"SNN_{name.upper()}", raising=False)


def test_overrides_come_before_the_environment_and_the_environment_before_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SNN_RUNTIME", "python3.12")
    monkeypatch.setenv("SNN_WITH_CACHE", "true")
    monkeypatch.setenv("SNN_NEURON_CONCURRENCY", "16")
    options = StackOptions.from_environment(neuron_concurrency=4, with_cache=None)
    assert options == StackOptions(runtime="python3.12", with_cache=True, neuron_concurrency=4)
    assert (options.stack_name, options.architecture, options.log_retention_days) == ("snn", "arm64", 30)


def test_text_is_converted() -> None:
    options = StackOptions.from_environment(
        with_cache="False",
        with_features="True",
        neuron_concurrency=" 12 ",
        tags="team=ml, env=a=b",
        email="",
        log_retention_days="7",
    )
    assert (options.with_cache, options.neuron_concurrency, options.log_retention_days) == (False, 12, 7)
    assert options.with_features is True
    assert options.tags == {"team": "ml", "env": "a=b"}
    assert StackOptions.from_environment(tags={"team": "ml"}).tags == {"team": "ml"}
    assert StackOptions.from_environment(bucket=20261129).bucket == "20261129"  # what a native DAG makes of digits


def test_what_nobody_gave_is_kept_from_the_stack_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    live = StackOptions(with_cache=True, runtime="python3.12", neuron_concurrency=3, email="a@b.example")
    monkeypatch.setenv("SNN_LOG_RETENTION_DAYS", "7")
    options = StackOptions.from_environment(neuron_concurrency="5", with_cache=None, email="")
    kept = options.keeping(live.parameters, {"team": "ml"})
    assert kept == StackOptions(
        with_cache=True, runtime="python3.12", neuron_concurrency=5, log_retention_days=7, tags={"team": "ml"}
    )
    # A stack deployed by an older version has no value for a later parameter: its default.
    assert options.keeping({"WithCache": "true"}, {}).with_cache
    assert options.keeping({"WithCache": "true"}, {}).runtime == "python3.13"
    # Said is said: false, empty, and options made directly.
    assert not StackOptions.from_environment(with_cache="false").keeping(live.parameters, {}).with_cache
    assert StackOptions.from_environment(tags="").keeping({}, {"team": "ml"}).tags == {}
    assert StackOptions().keeping(live.parameters, {"team": "ml"}) == StackOptions()


def test_every_option_but_the_name_and_the_tags_is_a_parameter() -> None:
    options = {option.name for option in fields(StackOptions)}
    assert options == {*stack_options.PARAMETERS, "stack_name", "tags", "given"}


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("stack_name", "Snn", "stack options: stack_name: 'Snn' is not possible (use at most 25 lower-case letters, "
         "digits and single hyphens; begin with a letter, do not end in -artifacts)"),
        ("stack_name", "a" * 26, None),
        ("stack_name", "a--b", None),
        ("stack_name", "a-", None),
        ("stack_name", "a-artifacts", None),
        ("stack_name", "", None),
        ("runtime", "python3.6", None),
        ("architecture", "amd64", "stack options: architecture: 'amd64' is not possible (one of arm64, x86_64)"),
        ("neuron_concurrency", 0, "stack options: neuron_concurrency: 0 is not possible (1 to 512)"),
        ("neuron_concurrency", "many", "stack options: neuron_concurrency: 'many' is not possible (a whole number)"),
        ("reserve_neuron_concurrency", -1, None),
        ("reserve_trainer_concurrency", -1, None),
        ("with_cache", "perhaps", "stack options: with_cache: 'perhaps' is not possible (true or false)"),
        ("bucket", "My-Bucket", "stack options: bucket: 'My-Bucket' is not possible (3 to 63 lower-case letters, "
         "digits and hyphens that S3 allows, or nothing)"),
        ("bucket", "ab", None),
        ("bucket", "a" * 64, None),
        ("bucket", "a.b.c", None),
        ("bucket", "abc-", None),
        ("bucket", "xn--abc", None),
        ("bucket", "abc-s3alias", None),
        ("bucket", "two-artifacts-123456789012-eu-west-1", None),
        ("email", "nobody", None),
        ("cache_node_type", "t4g.micro", None),
        ("log_retention_days", 31, None),
        ("tags", "team", None),
        ("notebook_instance_type", "t3.medium", None),
        ("with_notebook", "perhaps", None),
        ("with_features", "perhaps", "stack options: with_features: 'perhaps' is not possible (true or false)"),
        ("permissions_boundary", "arn:aws:iam::123456789012:role/limits", None),
        ("layer_arn", "arn:aws:lambda:us-east-1:1:function:x", None),
        ("colour", "red", "stack options: colour: no such option"),
    ],
)  # fmt: skip
def test_what_cannot_be_deployed_is_one_line_that_names_the_field(field: str, value: Any, line: str | None) -> None:
    with pytest.raises(InvalidInput, match=f"^stack options: {field}: ") as raised:
        StackOptions.from_environment(**{field: value})
    assert "\n" not in str(raised.value)
    assert line is None or str(raised.value) == line


def test_the_longest_stack_name_leaves_every_name_within_awss_limits() -> None:
    name = StackOptions(stack_name="a" * 25).stack_name
    assert len(f"{name}-artifacts-123456789012-ap-southeast-1") == 63  # a bucket
    assert len(f"{name}-TrainerLambda") <= 64
    assert len(f"{name}-functions") <= 40  # a cache user


def test_outputs_survive_xcom() -> None:
    outputs = StackOutputs("snn", "b", "t", "l", "tr", "n", "arn", True, "arm64", "eu-west-1", "a")
    values = outputs.to_dict()
    assert values["has_cache"] is True
    assert StackOutputs.from_dict(values) == outputs
    assert StackOutputs.from_dict({**values, "has_cache": "false", "later": 1}).has_cache is False
    assert (outputs.feature_function, StackOutputs.from_dict({**values, "feature_function": "f"}).feature_function) == (
        "",
        "f",
    )


@pytest.mark.parametrize(
    ("status", "done", "ok"),
    [
        ("CREATE_IN_PROGRESS", False, False),
        ("CREATE_COMPLETE", True, True),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", False, False),
        ("UPDATE_COMPLETE", True, True),
        ("UPDATE_ROLLBACK_IN_PROGRESS", False, False),
        ("UPDATE_ROLLBACK_COMPLETE", True, False),
        ("DELETE_COMPLETE", True, False),
        ("REVIEW_IN_PROGRESS", True, False),  # a change set that nobody ran: nothing is under way
        ("MISSING", True, False),
    ],
)
def test_status_words(status: str, done: bool, ok: bool) -> None:
    assert (StackStatus(status).done, StackStatus(status).ok) == (done, ok)
