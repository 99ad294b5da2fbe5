"""What the operators and the sensor have in common."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from airflow.providers.amazon.aws.operators.base_aws import AwsBaseOperator
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.exceptions import AirflowException

from snn.errors import InvalidInput, SnnError
from snn_cloud.aws.errors import ChampionChanged, LaunchRejected, NotApproved, RunCancelled, RunFailed
from snn_cloud.aws.passing import AWS_ERRORS, reason
from snn_operators.compat import AirflowFailException
from snn_operators.fields import NAME, STACK, VERIFY, Kind, TemplatedFields
from snn_operators.hook import SnnHook

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors.base import OperatorLineage
    from airflow.sdk import Context

    from snn_client.stack.outputs import StackOutputs

log = logging.getLogger(__name__)

Method = TypeVar("Method", bound=Callable[..., Any])


class OnStack(TemplatedFields):
    """An operator or sensor that works on one stack, with the connection and the stack for templated fields."""

    kinds: ClassVar[Mapping[str, Kind]] = {
        "stack": STACK,
        "aws_conn_id": NAME.or_else(None),
        "region_name": NAME.or_else(None),
        "verify": VERIFY.or_else(None),
    }
    stack: str | Mapping[str, Any]

    @property
    def stack_name(self) -> str:
        """Return the stack's name."""
        return str(self.stack["stack_name"] if isinstance(self.stack, Mapping) else self.stack)


class SnnOperator(OnStack, AwsBaseOperator[SnnHook]):
    """An operator that works on one stack.

    :param stack: the stack's name, or what :class:`~snn_operators.deploy.SnnDeployOperator` returned (templated)
    :param aws_conn_id: the Airflow connection used for AWS credentials; None or empty: boto3's own search (templated)
    :param region_name: the region; None: the connection's (templated)
    :param verify: whether to verify TLS certificates, or the path of a CA bundle (templated)
    :param botocore_config: configuration of the botocore clients
    """

    aws_hook_class = SnnHook
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
    """Turn our exceptions and AWS's into Airflow's, after a line in the log that says what is wrong and no more.

    What a retry cannot fix (a mistake in the input, a run that ended badly, a version that was rejected) fails the task
    without one. Airflow adds the exception with its stack below; nothing of ours is in between, as `from None` drops
    the cause.
    """
    try:
        yield
    except (ChampionChanged, InvalidInput, LaunchRejected, NotApproved, RunFailed, RunCancelled) as error:
        log.error("%s", error)
        raise AirflowFailException(str(error)) from None
    except SnnError as error:
        log.error("%s", error)
        raise AirflowException(str(error)) from None
    except AWS_ERRORS as error:
        line = f"AWS: {reason(error)}"
        log.error("%s", line)
        raise AirflowException(line) from None


def reads_fields(method: Method) -> Method:
    """Have a task's templated fields read before it works; its failures are as in `plain_failure`.

    For `execute`, and for `execute_complete`, which Airflow calls on a newly rendered task.
    """

    @wraps(method)
    def reading(self: TemplatedFields, *args: Any, **kwargs: Any) -> Any:
        with plain_failure():
            self.read_fields()
            return method(self, *args, **kwargs)

    return cast("Method", reading)


def seconds(value: timedelta | float | str | None) -> float | None:
    """Return a length of time in seconds, whichever way it was given."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    return None if value is None else float(value)
