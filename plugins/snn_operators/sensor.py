"""The sensor for runs that someone else started."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.amazon.aws.sensors.base_aws import AwsBaseSensor
from airflow.sdk import PokeReturnValue

from snn.errors import InvalidInput
from snn_client.runs.progress import Summary, summary
from snn_client.runs.watching import Watch
from snn_cloud.aws.errors import CloudError
from snn_operators.base import OnStack, plain_failure, reads_fields
from snn_operators.compat import AirflowSensorTimeout, conf
from snn_operators.fields import NAME, TIME, Kind
from snn_operators.hook import SnnHook
from snn_operators.trigger import RunEvent, RunTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


# Of the run's own interval; any where there is none, as in runs that a person or an asset started. Such a DAG run is
# most often the answer to an upload that is there already.
OWN_INTERVAL = "{{ data_interval_start | default(None) if dag_run.run_type in ('scheduled', 'backfill') else None }}"


class SnnRunSensor(OnStack, AwsBaseSensor[SnnHook]):
    """Wait for a run that this task did not start: usually one started by an upload to S3.

    The run may begin later than the sensor, and so may the upload. COMPLETED succeeds, FAILED fails with the run's
    reason, CANCELLED fails. Killing the task does not stop the run, since the sensor did not start it.

    Returns the same summary as :class:`~snn_operators.train.SnnTrainOperator`.

    .. seealso:: ``docs/operators.md``

    :param stack: the stack's name, or what the deploy task returned (templated)
    :param run_id: the run; or (templated)
    :param upload: the uploaded ``.h5``, ``training_input/…`` in the stack's bucket, by its key or its ``s3://``
        address; its newest version when the sensor first sees it (templated)
    :param uploaded_after: an upload before this time is not the one to wait for: a datetime or ISO 8601, in UTC unless
        it says otherwise. The default is the start of the DAG run's data interval if it was scheduled, else None.
        None: any upload (templated)
    :param watch: ``ledger``, or ``redis`` to follow the progress in the stack's cache, which Airflow must be able to
        reach; the ledger still decides (templated)
    :param deferrable: whether to wait in the triggerer; the default is ``[operators] default_deferrable``
    :param poke_interval: seconds between two looks
    :param log_interval: seconds between two lines in the log
    :param timeout: seconds after which the task fails; the run continues
    :param aws_conn_id: the Airflow connection used for AWS credentials; None or empty: boto3's own search (templated)
    :param region_name: the region; None: the connection's (templated)
    :param verify: whether to verify TLS certificates, or the path of a CA bundle (templated)
    :param botocore_config: configuration of the botocore clients
    """

    aws_hook_class = SnnHook
    kinds: ClassVar[Mapping[str, Kind]] = {
        "run_id": NAME.or_else(""),
        "upload": NAME.or_else(""),
        "uploaded_after": TIME.or_else(None),
        "watch": NAME.or_else("ledger"),
    }
    ui_color = "#e3eefc"

    def __init__(
        self,
        *,
        stack: str | Mapping[str, Any] = "snn",
        run_id: str = "",
        upload: str = "",
        uploaded_after: datetime | str | None = OWN_INTERVAL,
        watch: str = "ledger",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poke_interval: float = 5.0,
        log_interval: float = 5.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.stack, self.run_id, self.upload, self.watch = stack, run_id, upload, watch
        self.uploaded_after: Any = uploaded_after
        self.deferrable, self.log_interval = deferrable, log_interval

    @reads_fields
    def execute(self, context: Context) -> Any:
        """Wait: in the triggerer if deferrable, and if the run has not ended already."""
        if bool(self.run_id) == bool(self.upload):
            raise InvalidInput(
                f"the sensor waits for one run, it has run_id {self.run_id!r} and upload {self.upload!r}",
                field="run_id",
                hint="give either run_id or upload",
            )
        if self.watch not in ("ledger", "redis"):
            raise InvalidInput(f"{self.watch!r} is not possible", field="watch", hint="use 'ledger' or 'redis'")
        if self.deferrable:
            run = self._new_watch().look().run
            if run is None or not run.state.is_terminal:
                self.defer(
                    trigger=RunTrigger(
                        aws=self._hook_parameters, deadline=time.time() + self.timeout,
                        poll_interval=self.poke_interval, **self._watched,
                    ),
                    method_name="execute_complete",
                )  # fmt: skip
        return super().execute(context)

    @plain_failure()
    def poke(self, context: Context) -> PokeReturnValue:
        """Look once; done when the run has completed. Raises when it failed or was cancelled."""
        look = self._watching.look()
        for line in look.lines:
            self.log.info("%s", line)
        if look.run is None or not look.run.state.is_terminal:
            return PokeReturnValue(False)
        return PokeReturnValue(True, summary(self._watching.outcome(look.run)))

    @reads_fields
    def execute_complete(self, context: Context, event: RunEvent) -> Summary:
        """Say how the run ended that the trigger waited for."""
        if event["status"] == "timeout":
            raise AirflowSensorTimeout(f"the run has not ended within {self.timeout:g} s")
        if event["status"] == "error":
            raise CloudError(event["message"])
        watch = Watch(self.hook.clients, self.stack, run_id=event["run_id"])
        return summary(watch.outcome(self.hook.ledger(watch.outputs).get(watch.run_id)))

    @cached_property
    def _watching(self) -> Watch:
        return self._new_watch()

    def _new_watch(self) -> Watch:
        return Watch(self.hook.clients, **self._watched)

    @property
    def _watched(self) -> dict[str, Any]:
        after = self.uploaded_after
        return {
            "stack": self.stack, "run_id": self.run_id, "upload": self.upload, "source": self.watch,
            "log_interval": self.log_interval, "uploaded_after": None if after is None else after.timestamp(),
        }  # fmt: skip
