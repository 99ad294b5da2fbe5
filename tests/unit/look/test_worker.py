"""The process that computes: what it gets of its server's environment, and how it takes newer credentials."""

from __future__ import annotations

from snn_client.look.stacks import Keys, Reach
from snn_client.look.worker import Worker
from snn_client.look.workers import _passed_on


def reach(token: str, region: str = "eu-west-1") -> Reach:
    outputs = {"stack_name": "snn", "table": "t"}
    return Reach(outputs, region, {"s3": "http://127.0.0.1:1"}, Keys("id", "secret", token))


def test_secrets_of_the_server_stay_with_it() -> None:
    given = {
        "PATH": "/bin", "PYTHONPATH": "/x", "https_proxy": "http://proxy", "SSL_CERT_FILE": "/ca",
        "AIRFLOW__API_AUTH__JWT_SECRET": "s", "AIRFLOW_CONN_AWS_DEFAULT": "s", "AWS_SECRET_ACCESS_KEY": "s",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "s", "FERNET_KEY": "s",
    }  # fmt: skip
    assert _passed_on(given).keys() == {"PATH", "PYTHONPATH", "https_proxy", "SSL_CERT_FILE"}


def test_a_reach_is_the_same_behind_a_pipe_and_shows_no_secret() -> None:
    there = reach("token")
    assert Reach.from_json(there.to_json()) == there
    assert "secret" not in repr(there)


def test_newer_credentials_sign_and_what_was_read_stays() -> None:
    worker = Worker()
    first = worker._clients_of(reach("one"))
    client = first.s3
    assert worker._clients_of(reach("two")) is first
    assert client._request_signer._credentials.get_frozen_credentials().token == "two"
    assert worker._clients_of(reach("two", region="us-east-1")) is not first
