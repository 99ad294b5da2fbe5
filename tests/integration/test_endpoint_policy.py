"""Who may call an endpoint that wants signatures, on the emulator that enforces IAM."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from served import KINDS, picture_of, put_run
from strict import Strict

from snn_client.models import versions
from snn_client.serving.asking import NotAnswered, ask

pytestmark = pytest.mark.usefixtures("at_strict")
PHOTO = picture_of(np.random.default_rng(0))


def test_the_caller_s_policy_lets_ask_and_nothing_else(strict: Strict) -> None:
    """A user who has docs/caller-policy.json alone."""
    stack, caller = strict.stack, strict.of("caller")
    put_run(strict.clients, stack, "caller-1", KINDS["photos of two classes"].file("caller-1"))
    versions.promote(strict.clients, stack, "caller-1", "called")
    found: Any = caller.s3
    key = found._request_signer._credentials.get_frozen_credentials()
    said = ask(caller, stack, PHOTO, secrets=(key.access_key, key.secret_key, None), target="called")
    assert said["model"]["run_id"] == "caller-1"
    for denied in (
        lambda: caller.s3.get_object(Bucket=stack.bucket, Key="models/called/params.h5"),
        lambda: caller.s3.list_objects_v2(Bucket=stack.bucket),
        lambda: caller.lambda_.get_function(FunctionName=stack.predict_function),
        lambda: caller.lambda_.invoke(FunctionName=stack.launch_function, Payload=b"{}"),
        lambda: caller.dynamodb.scan(TableName=stack.table),
    ):  # fmt: skip
        with pytest.raises(Exception, match="AccessDenied"):
            denied()
    operator: Any = strict.of("operator").s3
    key = operator._request_signer._credentials.get_frozen_credentials()
    with pytest.raises(NotAnswered, match="403"):
        ask(caller, stack, PHOTO, secrets=(key.access_key, key.secret_key, None), target="called")
