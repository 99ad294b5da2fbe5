"""What the operators and the sensor have in common."""

from __future__ import annotations

import json
import logging
from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.operators.base_aws import AwsBaseOperator
from airflow.providers.amazon.aws.utils.mixins import aws_template_fields
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from snn.errors import InvalidInput, SnnError
from snn_cloud.aws.errors import ChampionChanged, LaunchRejected, RunCancelled, RunFailed
from snn_operators.hook import SnnHook

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors.base import OperatorLineage
    from airflow.sdk import Context

    from snn_client.stack.outputs import StackOutputs

log = logging.getLogger(__name__)


class SnnOperator(AwsBaseOperator[SnnHook]):
    """An operator that works on one stack.

    :param stack: the stack's name, or what :class:`~snn_operators.deploy.SnnDeployOperator` returned (templated)
    :param aws_conn_id: the Airflow connection used for AWS credentials; None or empty: boto3's own search
    :param region_name: the region; None: the connection's
    :param verify: whether to verify TLS certificates, or the path of a CA bundle
    :param botocore_config: configuration of the botocore clients
    """

    aws_hook_class = SnnHook
    template_fields: Sequence[str] = aws_template_fields("stack")
    ui_color = "#e3eefc"

    def __init__(self, *, stack: str | Mapping[str, Any] = "snn", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stack = stack
        self.files: tuple[list[str], list[str]] | None = None  # read and made, once the work is done

    @property
    def outputs(self) -> StackOutputs:
        """Return the stack's outputs. Raises StackFailed when there is no such stack."""
        return self.hook.outputs(self.stack)

    def announce(self, context: Context, uri: str, extra: dict[str, Any]) -> None:
        """Announce an object that the task made: an event for each :class:`~airflow.sdk.AssetAlias` in its outlets."""
        for alias in self.outlets:
            if isinstance(alias, AssetAlias):
                context["outlet_events"][alias].add(Asset(uri), extra=extra)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Return the lineage for OpenLineage: the files that the task read, and those that it made."""
        if self.files is None:
            return None
        from snn_operators.lineage import of_files

        return of_files(*self.files)


@contextmanager
def plain_failure() -> Iterator[None]:
    """Turn the project's exceptions into Airflow's, after a line in the log that says what is wrong and no more.

    What a retry cannot fix (a mistake in the input, a run that ended badly) fails the task without one. Airflow adds
    the exception with its stack below; nothing of ours is in between, as `from None` drops the cause.
    """
    try:
        yield
    except (ChampionChanged, InvalidInput, LaunchRejected, RunFailed, RunCancelled) as error:
        log.error("%s", error)
        raise AirflowFailException(str(error)) from None
    except SnnError as error:
        log.error("%s", error)
        raise AirflowException(str(error)) from None


def native(value: Any) -> Any:
    """Return the value of a template's text: "5" is 5, "None", "null" and "" are None, other text is itself."""
    if not isinstance(value, str):
        return value
    if value.strip() in ("", "None", "null"):
        return None
    if value in ("True", "False"):
        return value == "True"
    try:
        return json.loads(value)
    except ValueError:
        return value


def listed(value: Any) -> list[Any]:
    """Return a list that a template may have turned into text; text that is not a list becomes a list of itself."""
    if isinstance(value, str):
        for parse in (json.loads, literal_eval):
            try:
                value = parse(value)
                break
            except (ValueError, SyntaxError):
                continue
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def seconds(value: timedelta | float | str | None) -> float | None:
    """Return a length of time in seconds, whichever way it was given."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    given = native(value)
    return None if given is None else float(given)
