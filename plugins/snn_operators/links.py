"""Buttons on the task's page that lead to what the task works on or has made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

    from snn_client.stack.outputs import StackOutputs
    from snn_cloud.aws.clients import Clients

CONSOLES = {"aws": "aws.amazon.com", "aws-cn": "amazonaws.cn", "aws-us-gov": "amazonaws-us-gov.com"}


class ReportLink(BaseOperatorLink):
    """Lead from the report task to `report.html`."""

    name = "Training report"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address the operator left; Airflow asks in the worker, when the task has ended."""
        return getattr(operator, "report_url", "")


class TableLink(ReportLink):
    """Lead from the table task of a sweep to `sweep.json`."""

    name = "Sweep table"


class RunLink(BaseOperatorLink):
    """Lead from the training task to something of its run."""

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address the operator left (see `run_links`); asked whenever the worker lets go of the task.

        That is also when it is deferred, so the button is there while the run goes on.
        """
        links: Mapping[str, str] = getattr(operator, "links", {})
        return links.get(self.xcom_key, "")


class LambdaLogsLink(RunLink):
    """Lead to TrainerLambda's log, filtered for the run. Shown on AWS only."""

    name = "Lambda logs"


class StackLink(RunLink):
    """Lead to the stack in CloudFormation. Shown on AWS only."""

    name = "Stack"


class BucketPrefixLink(RunLink):
    """Lead to the run's folder in the bucket."""

    name = "Bucket prefix"


RUN_LINKS = (LambdaLogsLink(), StackLink(), BucketPrefixLink())


def run_links(clients: Clients, outputs: StackOutputs, run_id: str) -> dict[str, str]:
    """Return where a person can look at a run while it goes on: {XCom key of the link: address}.

    An endpoint that is not AWS's has no pages for logs and stacks; it shows a bucket's folder as a list in XML.
    """
    meta = clients.s3.meta
    if ".amazonaws.com" not in meta.endpoint_url:
        listing = f"{meta.endpoint_url}/{quote(outputs.bucket)}?prefix={quote(f'runs/{run_id}/')}"
        return {BucketPrefixLink().xcom_key: listing}
    console, region = _console(meta), meta.region_name
    group, phrase = (_twice(text) for text in (f"/aws/lambda/{outputs.trainer_function}", f'"{run_id}"'))
    return {
        LambdaLogsLink().xcom_key: f"{console}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/{group}"
        f"/log-events$3FfilterPattern$3D{phrase}",
        StackLink().xcom_key: f"{console}/cloudformation/home?region={region}#/stacks"
        f"?filteringText={quote(outputs.stack_name)}&filteringStatus=active&viewNested=true",
        BucketPrefixLink().xcom_key: f"{console}/s3/buckets/{quote(outputs.bucket)}?region={region}"
        f"&prefix={quote(f'runs/{run_id}/', safe='')}",
    }


def object_url(s3: Any, bucket: str, key: str) -> str:
    """Return where a person can open an object of S3: in the AWS console, or at an endpoint that is not AWS's.

    A pre-signed address would open for whoever reads it in XCom; the console asks who is there.

    :param s3: the S3 client that wrote the object
    """
    meta = s3.meta
    if ".amazonaws.com" in meta.endpoint_url:
        return f"{_console(meta)}/s3/object/{quote(bucket)}?region={meta.region_name}&prefix={quote(key, safe='')}"
    return f"{meta.endpoint_url}/{quote(bucket)}/{quote(key)}"


def _console(meta: Any) -> str:
    return f"https://console.{CONSOLES.get(meta.partition, CONSOLES['aws'])}"


def _twice(text: str) -> str:
    """Return text as CloudWatch's page wants it behind the #: quoted twice, the second time with $ for %."""
    return quote(quote(text, safe=""), safe="").replace("%", "$")
