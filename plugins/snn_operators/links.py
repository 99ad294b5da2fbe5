"""Buttons on the task's page that lead to what the task left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

CONSOLES = {"aws": "aws.amazon.com", "aws-cn": "amazonaws.cn", "aws-us-gov": "amazonaws-us-gov.com"}


class ReportLink(BaseOperatorLink):
    """Lead from the report task to `report.html`."""

    name = "Training report"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address the operator left; Airflow asks once, in the worker, when the task has ended."""
        return getattr(operator, "report_url", "")


def object_url(s3: Any, bucket: str, key: str) -> str:
    """Return where a person can open an object of S3: in the AWS console, or at an endpoint that is not AWS's.

    A pre-signed address would open for whoever reads it in XCom; the console asks who is there.

    :param s3: the S3 client that wrote the object
    """
    meta = s3.meta
    if ".amazonaws.com" in meta.endpoint_url:
        place = f"s3/object/{quote(bucket)}?region={meta.region_name}&prefix={quote(key, safe='')}"
        return f"https://console.{CONSOLES.get(meta.partition, CONSOLES['aws'])}/{place}"
    return f"{meta.endpoint_url}/{quote(bucket)}/{quote(key)}"
