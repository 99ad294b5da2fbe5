"""The task that starts a run and follows it to its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.exceptions import AirflowRuntimeError

from snn_client.runs.progress import Summary, estimate_line, summary
from snn_client.runs.watching import Watch
from snn_cloud.aws.errors import CloudError, RunFailed, RunNotFound
from snn_cloud.cost.formats import duration
from snn_operators.base import SnnOperator, reads_fields, seconds
from snn_operators.compat import conf
from snn_operators.fields import FLAG, MAPPING, NAME, Kind
from snn_operators.links import RUN_LINKS, run_links
from snn_operators.tries import Choice, choose_run
from snn_operators.trigger import RunEvent, RunTrigger, is_wanted

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors.base import OperatorLineage
    from airflow.sdk import Context

    from snn_cloud.ledger.parameters import Parameters
    from snn_cloud.ledger.record import Run, Task

LAUNCHING_SECONDS = 30.0  # until a run that was being launched when its task was killed must be in the ledger


class SnnTrainOperator(SnnOperator):
    """Train a network in Lambda: start the run, watch the ledger until it ends.

    The training belongs to Lambda. The task only watches: deferred, it holds no worker slot, and a restart of worker or
    triggerer changes nothing. A retry by Airflow itself continues with the existing run.

    The task ends as the run does: COMPLETED succeeds; FAILED fails, with the run's own reason; CANCELLED fails.
    None of them is retried, as the same run would only be read again. Clearing, marking, killing or deleting the task
    cancels the run. A cleared task starts a new run, ``<run_id>-t2`` for its second try, or resumes the one before.

    Its log has an estimate of what the run may cost, and a warning if that is more than the parameters' ``max_usd`` or
    ``max_seconds``; the first and the last epoch and a line every ``log_interval``
    seconds, and the lines of the Lambda functions; the exception of a failed run has their last ones, with the
    traceback. XCom ``run_id`` is there from the start, ``progress`` while it runs, and the return value at the end:
    run_id, state, epochs_run, epochs_configured, final_cost, stopped_by, seconds, granularity, strategy, dataset_key,
    invocations. An ``AssetAlias`` among its ``outlets`` gets an event of the model when the run has completed.

    .. seealso:: ``docs/operators.md``

    :param run_id: the run, as the stage task named it (templated)
    :param dataset_key: key of the staged data set in the stack's bucket (templated)
    :param parameters: what to train, as the stage task returned it; None: what was staged for ``run_id`` (templated)
    :param resume: whether a cleared task continues from the checkpoint of the run that failed or was cancelled, with
        the same result as if it had not stopped; False: it trains from the first epoch (templated)
    :param resume_from: a run that paused (``pause_after``), which this one goes on from exactly; by default none
        (templated)
    :param promote: whether to promote the model when the run completes (templated)
    :param timeout: how long the run may take; then it is cancelled and the task fails. None: as long as it takes
    :param deferrable: whether to wait in the triggerer; the default is ``[operators] default_deferrable``
    :param poll_interval: seconds between two looks at the ledger
    :param log_interval: seconds between two lines in the log
    """

    kinds: ClassVar[Mapping[str, Kind]] = {
        "run_id": NAME,
        "dataset_key": NAME,
        "parameters": MAPPING.or_else(None),
        "resume": FLAG.or_else(False),
        "resume_from": NAME.or_else(""),
        "promote": FLAG.or_else(False),
    }
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json"}
    operator_extra_links = RUN_LINKS

    def __init__(
        self,
        *,
        run_id: str,
        dataset_key: str,
        parameters: str | Mapping[str, Any] | None = None,
        resume: bool | str = False,
        resume_from: str = "",
        promote: bool | str = False,
        timeout: timedelta | float | None = timedelta(days=2),
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float = 2.0,
        log_interval: float = 5.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.run_id, self.dataset_key, self.parameters = run_id, dataset_key, parameters
        self.resume, self.resume_from, self.promote = resume, resume_from, promote
        self.timeout, self.deferrable = seconds(timeout), deferrable
        self.poll_interval, self.log_interval = poll_interval, log_interval
        self._watch: Watch | None = None
        self.links: dict[str, str] = {}
        self._trained: tuple[str, Run] | None = None

    @reads_fields
    def execute(self, context: Context) -> Summary:
        """Start the run, or find it started, and wait for its end."""
        from snn_client.runs.estimate import estimate_on
        from snn_client.runs.runs import launch
        from snn_cloud.cost.budget import warning
        from snn_cloud.cost.workload import Size

        began = time.time()
        deadline = None if self.timeout is None else began + self.timeout
        outputs, parameters = self.outputs, self._parameters()
        chosen = self._choose_run(context)
        if chosen.why:
            self.log.info("%s", chosen.why)
        watched: Any = {"run_id": chosen.run_id, "log_interval": self.log_interval, "since": began}
        self._watch = Watch(self.hook.clients, outputs, **watched)  # before the launch, which a kill may interrupt
        run = launch(
            self.hook.clients, outputs, chosen.run_id, self.dataset_key, parameters,
            promote=bool(self.promote), resume_from=chosen.resume_from or self.resume_from,
            task=self._task(context),
        )  # fmt: skip
        self.links = run_links(self.hook.clients, outputs, run.run_id)
        self._tell(context, run_id=run.run_id, **self.links)
        self.log.info("run %s: at most %d epochs, strategy %s, granularity %s", run.run_id, parameters.epochs,
                      parameters.strategy, parameters.granularity.value)  # fmt: skip
        if run.samples:
            estimate = estimate_on(outputs, parameters, Size.of_run(run))
            self.log.info("%s", estimate_line(estimate))
            if line := warning(estimate, parameters):
                self.log.warning("%s", line)
        if self.deferrable and not self._is_over_soon(run):
            if not is_wanted(context["ti"], "running"):
                self.on_kill()
                return self._conclude(context, self._watch, self._wait(context, self._watch, deadline))
            self.defer(
                trigger=RunTrigger(
                    aws=self._hook_parameters, stack=outputs.to_dict(), deadline=deadline,
                    poll_interval=self.poll_interval, cancel_on_kill=True, **watched,
                ),
                method_name="execute_complete",
            )  # fmt: skip
        return self._conclude(context, self._watch, self._wait(context, self._watch, deadline))

    @reads_fields
    def execute_complete(self, context: Context, event: RunEvent) -> Summary:
        """Say how the run ended that the trigger waited for."""
        if event["status"] == "error":
            raise CloudError(f"run {event['run_id']}: {event['message']}")
        watch = Watch(self.hook.clients, self.stack, run_id=event["run_id"])
        self.links = run_links(self.hook.clients, watch.outputs, watch.run_id)
        if event["status"] == "timeout":
            self._give_up(watch)
        return self._conclude(context, watch, self.hook.ledger(watch.outputs).get(watch.run_id))

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Return the lineage for OpenLineage: data set, model, parameters, and how the training went."""
        from snn_operators.lineage import of_training

        return of_training(*self._trained) if self._trained else None

    def on_kill(self) -> None:
        """Cancel the run: the task was killed while it waited in the worker, or while it launched the run."""
        if self._watch is None:
            return
        self.log.info("the task was killed: cancelling run %s", self._watch.run_id)
        deadline = time.monotonic() + LAUNCHING_SECONDS
        while True:
            try:
                return self._watch.cancel()
            except RunNotFound:
                if time.monotonic() > deadline:
                    self.log.info("run %s was never launched", self._watch.run_id)
                    return
                time.sleep(0.2)

    def _parameters(self) -> Parameters:
        """Return what to train. Raises InvalidInput (InvalidParameters)."""
        from snn_client.data.staging import read_source
        from snn_cloud.aws.places import check_run_id, input_parameters
        from snn_cloud.ledger.parameters import MAX_TEXT, Parameters

        if self.parameters is not None:
            return Parameters.load(self.parameters)
        source = f"s3://{self.outputs.bucket}/{input_parameters(check_run_id(self.run_id))}"
        return Parameters.load(read_source(self.hook.clients.s3, source, MAX_TEXT), source=source)

    def _task(self, context: Context) -> Task | None:
        """Return which task asks for the run: who may see its DAG sees the run."""
        from snn_cloud.ledger.record import Task

        dag_run_id, map_index = context.get("run_id"), getattr(context["ti"], "map_index", None)
        return (
            Task(self.dag_id, dag_run_id, self.task_id, -1 if map_index is None else map_index) if dag_run_id else None
        )

    def _choose_run(self, context: Context) -> Choice:
        from snn_client.runs.runs import stop

        ti, clients, outputs = context["ti"], self.hook.clients, self.outputs
        return choose_run(
            self.run_id,
            ti.try_number,
            ti.max_tries - (self.retries or 0) + 1,
            bool(self.resume),
            find=self.hook.ledger(outputs).find,
            stop=lambda run_id: stop(clients, outputs, run_id),
        )

    def _is_over_soon(self, run: Run) -> bool:
        """Return whether the run has ended, or ends within the time that deferring would take."""
        if not run.state.is_terminal:
            time.sleep(min(self.poll_interval, 2.0))
            run = self.hook.ledger(self.outputs).get(run.run_id)
        return run.state.is_terminal

    def _wait(self, context: Context, watch: Watch, deadline: float | None) -> Run:
        """Wait in the worker; return the ended run."""
        while True:
            look = watch.look()
            run, lines = look.run, look.lines
            for line in lines:
                self.log.info("%s", line)
            if run is not None and run.state.is_terminal:
                return run
            if deadline is not None and time.time() >= deadline:
                self._give_up(watch)
            if run is not None and lines:
                self._tell(context, progress=watch.narrator.record(run))
            time.sleep(self.poll_interval)

    def _tell(self, context: Context, **values: Any) -> None:
        """Write values to XCom. A failure is no reason to stop watching the run.

        A deleted task may hear of it here first; its next heartbeat is refused too, and has it killed.
        """
        for key, value in values.items():
            try:
                context["ti"].xcom_push(key=key, value=value)
            except AirflowRuntimeError as error:
                self.log.warning("no %s in XCom: %s", key, error)

    def _give_up(self, watch: Watch) -> None:
        watch.cancel()
        raise RunFailed(f"run {watch.run_id} did not end within {duration(self.timeout or 0)}; it was asked to stop")

    def _conclude(self, context: Context, watch: Watch, run: Run) -> Summary:
        """Return the summary of a completed run. Raises RunFailed or RunCancelled for any other."""
        from snn_cloud.aws.places import params

        self._tell(context, progress=watch.narrator.record(run))
        watch.outcome(run)
        self.log.info(
            "run %s: %d epochs in %s, final cost %s, stopped by %s",
            run.run_id, run.epoch, duration(run.seconds), run.cost, run.stopped_by,
        )  # fmt: skip
        self._trained = watch.outputs.bucket, run
        extra = {"run_id": run.run_id, "cost": run.cost, "epochs": run.epoch}
        self.announce(context, f"s3://{watch.outputs.bucket}/{params(run.run_id)}", extra)
        return summary(run)
