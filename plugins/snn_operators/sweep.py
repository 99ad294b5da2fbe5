"""The tasks around the trainings of a sweep: one that plans them, one that compares how they ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from snn_cloud.aws.errors import RunFailed
from snn_operators.base import SnnOperator, reads_fields
from snn_operators.fields import COMBINATIONS, DOCUMENT, FLAG, NAME, NUMBER, SWEEP, VALUES, Kind
from snn_operators.links import TableLink, object_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from snn_client.sweeps.sweep import Training
    from snn_client.sweeps.table import Outcome, Sweep, WrittenTable

# Without the number of the try: planned again, a sweep finds its data sets staged.
SWEEP_ID = "{{ ti.dag_id }} {{ run_id }} {{ ti.task_id }} {{ ti.map_index }}"


class SnnSweepPlanOperator(SnnOperator):
    """Make the trainings of a sweep from a grid or a list, check every one, and stage what they are trained on.

    Part of the training set is held out to compare the networks by: a share of it, or each of several folds in turn.
    These data sets are staged once, under the sweep's own id, for all combinations. The test set is in none.
    A mistake in any combination fails the task without a retry, with one line that names the combination and the field,
    and nothing is left in S3.

    Returns a list to map training tasks over: ``run_id`` and ``dataset_key`` of each run, and the run that it resumes,
    ``resume_from``. Its parameters lie in its input folder, where :class:`~snn_operators.train.SnnTrainOperator` finds
    them; the whole plan is ``plan.json`` in the sweep's input folder. XCom ``sweep`` has what the table says of the
    whole sweep. With ``halving`` they are those of the first rung: they pause, and :class:`SnnSweepRungOperator`
    chooses which go on.

    .. seealso:: ``docs/operators.md``

    :param dataset: path or ``s3://`` address of a ``datasets.h5``, or of what one is made of (templated)
    :param parameters: what the combinations have in common: a mapping, JSON text, or a path or ``s3://`` address of
        ``parameters.json``; its seed determines which samples are held out (templated)
    :param overrides: single parameters that replace those in ``parameters``; None leaves one as it is (templated)
    :param combinations: a grid, ``{"learning_rate": [0.001, 0.01], "layer_sizes": [[20, 7, 5, 1], [10, 1]]}``, or a
        list of mappings; a mapping, a list, or JSON text (templated)
    :param validation: the share of the training set that is held out, or a number of folds from 2 on (templated)
    :param data_options: how a data set is made of what is no ``.h5``: the fields of an
        ``snn_client.data.options.Options``; None leaves one as it is (templated)
    :param halving: whether to train in three rungs: the best three in eight go on, then the best half (templated)
    :param sweep_id: any text, made into a valid run id; the default differs for each DAG run (templated)
    """

    kinds: ClassVar[Mapping[str, Kind]] = {
        "dataset": NAME,
        "parameters": DOCUMENT,
        "overrides": VALUES.or_else(None),
        "combinations": COMBINATIONS,
        "validation": NUMBER.or_else(0.2),
        "data_options": VALUES.or_else(None),
        "halving": FLAG.or_else(False),
        "sweep_id": NAME,
    }
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "parameters": "json", "overrides": "json", "combinations": "json", "data_options": "json",
    }  # fmt: skip

    def __init__(
        self,
        *,
        dataset: str,
        parameters: str | Mapping[str, Any],
        combinations: str | Mapping[str, Any] | Sequence[Mapping[str, Any]],
        overrides: Mapping[str, Any] | None = None,
        validation: float | str = 0.2,
        data_options: Mapping[str, Any] | str | None = None,
        halving: bool | str = False,
        sweep_id: str = SWEEP_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dataset, self.parameters, self.overrides = dataset, parameters, overrides
        self.combinations, self.sweep_id = combinations, sweep_id
        self.data_options: Any = data_options
        self.validation: Any = validation
        self.halving = halving

    @reads_fields
    def execute(self, context: Context) -> list[dict[str, str]]:
        """Plan the sweep; return its trainings."""
        from snn_client.backbones.features import features_by
        from snn_client.data.options import Options
        from snn_client.data.staging import stage_folds
        from snn_client.runs.estimate import estimate_on
        from snn_client.runs.runs import check_cache
        from snn_client.sweeps.halving import first_rung
        from snn_client.sweeps.sweep import expand, listed, one_backbone, plan_items, trainings
        from snn_cloud.aws.places import new_run_id
        from snn_cloud.cost.budget import warning

        outputs, validation = self.outputs, self.validation
        base, seed = self._base()
        combinations = expand(self.combinations, base, validation)
        for one in combinations:
            check_cache(one.parameters, outputs, source=f"combination {one.number}")
        # Short, as run ids are made of it.
        sweep_id = new_run_id(self.sweep_id, longest=30)

        def planned(keys: Sequence[str]) -> list[Training]:
            plan = trainings(sweep_id, combinations, keys)
            return first_rung(plan) if self.halving else plan

        planned([""])  # what cannot be halved is told before anything is staged
        staged = stage_folds(
            self.hook.clients, outputs.bucket, sweep_id, self.dataset, validation, seed,
            Options.of({"backbone": one_backbone(combinations), **(self.data_options or {})}),
            features_by=features_by(self.hook.clients, outputs, combinations[0].parameters.max_usd),
            more=lambda keys: plan_items(sweep_id, planned(keys)),
        )  # fmt: skip
        self.files = [self.dataset], [f"s3://{outputs.bucket}/{key}" for key in staged.dataset_keys]
        plan = planned(staged.dataset_keys)
        usd = 0.0
        for one in combinations:
            estimates = [estimate_on(outputs, one.parameters, size) for size in staged.sizes]
            usd += sum(estimate["usd"] for estimate in estimates)
            for line in {line for estimate in estimates if (line := warning(estimate, one.parameters))}:
                self.log.warning("combination %d: %s", one.number, line)
        self.log.info(
            "sweep %s: %d combinations × %d data sets = %d runs, estimate ≤ %.4f USD%s",
            sweep_id, len(combinations), len(staged.dataset_keys), len(plan), usd,
            ", by halving about a third of it" if self.halving else "",
        )  # fmt: skip
        sweep = {"sweep_id": sweep_id, "validation": validation, "combinations": len(combinations), "runs": len(plan)}
        context["ti"].xcom_push(key="sweep", value=sweep)
        return listed(plan)

    def _base(self) -> tuple[dict[str, Any], int]:
        """Return what the combinations have in common, as parameters.json has it, and its seed."""
        from snn_client.data.staging import read_source
        from snn_cloud.ledger.parameters import MAX_TEXT, Parameters

        given: Any = self.parameters
        named = {"source": given} if isinstance(given, str) else {}
        if named:
            given = read_source(self.hook.clients.s3, given, MAX_TEXT)
        overrides = self.overrides or {}
        seed = Parameters.load(given, **named, **overrides).seed
        base = given if isinstance(given, Mapping) else json.loads(given)
        return {**base, **{name: value for name, value in overrides.items() if value is not None}}, seed


class SnnSweepRungOperator(SnnOperator):
    """Choose which trainings of a sweep with halving go on, by what was held out.

    Of the first rung the best three in eight do, of the second the best half.

    Put an ``EmptyOperator`` with ``trigger_rule="all_done"`` between the trainings and this task, or one that failed,
    or a rung that was skipped, ends the sweep.

    Returns the next rung's trainings, a list to map training tasks over as the plan is; an empty one if there is none.
    Their parameters lie in their input folders, and the rung as a whole in ``plan-<rung>.json`` beside ``plan.json``.

    .. seealso:: ``docs/operators.md``

    :param sweep: the plan task's XCom ``sweep`` (templated)
    :param rung: the rung that is chosen, 2 or 3
    :param train: id of the training task that was mapped over the rung before
    :param evaluate: id of the evaluating task that was mapped with it
    """

    kinds: ClassVar[Mapping[str, Kind]] = {"sweep": SWEEP}
    template_fields_renderers: ClassVar[dict[str, str]] = {"sweep": "json"}

    def __init__(self, *, sweep: Sweep, rung: int, train: str, evaluate: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sweep, self.rung, self.train, self.evaluate = sweep, rung, train, evaluate

    @reads_fields
    def execute(self, context: Context) -> list[dict[str, str]]:
        """Choose; return the next rung's trainings."""
        from snn_client.data.staging import upload
        from snn_client.sweeps.halving import is_halved, next_rung
        from snn_client.sweeps.sweep import listed, plan_items, read_plan

        clients, bucket, sweep_id = self.hook.clients, self.outputs.bucket, self.sweep["sweep_id"]
        if not is_halved(read_plan(clients, bucket, sweep_id)):
            return []
        plan = read_plan(clients, bucket, sweep_id, self.rung - 1)
        chosen = next_rung(_ended(self, context, plan, self.train, self.evaluate))
        upload(clients.s3, bucket, plan_items(sweep_id, chosen, self.rung))
        self.log.info("sweep %s: %d of %d runs go on", sweep_id, len(chosen), len(plan))
        return listed(chosen)


def _ended(
    operator: SnnOperator, context: Context, plan: Sequence[Training], train: str, evaluate: str
) -> list[Outcome]:
    """Return how the trainings of a plan ended, that tasks were mapped over."""
    from snn_client.sweeps.table import outcomes

    if not plan:
        return []
    # By index: in a plain list of their XComs those of failed tasks are missing, and the others move up.
    ti, indexes = context["ti"], range(len(plan))
    run_ids = ti.xcom_pull(task_ids=train, key="run_id", map_indexes=indexes)
    judged = ti.xcom_pull(task_ids=evaluate, map_indexes=indexes)
    return outcomes(operator.hook.clients, operator.outputs, plan, run_ids, judged)


class SnnSweepTableOperator(SnnOperator):
    """Compare the networks of a sweep on the samples that were held out, and name the best.

    The table lies in ``sweep.json`` in the sweep's folder, as a plot in ``sweep.svg``, and, line by line, in the log. A
    combination that failed is in it with its reason; the task fails only if all did. Give it
    ``trigger_rule="all_done_min_one_success"``, or one failed training ends the sweep; with halving do as for
    :class:`SnnSweepRungOperator`. An ``AssetAlias`` among its ``outlets`` gets an event of the table.

    Returns the table: ``rows``, best first, ``winner``, ``failed``, ``seconds``, ``usd``, ``sweep_json``; under 48 KB,
    with the last rows left out if need be. XCom ``winner`` has the winner alone: combination, overrides, score, std and
    parameters, in full.

    .. seealso:: ``docs/operators.md``

    :param sweep: the plan task's XCom ``sweep`` (templated)
    :param train: id of the training task that was mapped over the plan
    :param evaluate: id of the evaluating task that was mapped with it
    :param rungs: for each later rung of a sweep with halving, the ids of the two tasks that were mapped over it
    """

    kinds: ClassVar[Mapping[str, Kind]] = {"sweep": SWEEP}
    template_fields_renderers: ClassVar[dict[str, str]] = {"sweep": "json"}
    operator_extra_links = (TableLink(),)

    def __init__(
        self, *, sweep: Sweep, train: str, evaluate: str, rungs: Sequence[tuple[str, str]] = (), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.sweep, self.train, self.evaluate, self.rungs = sweep, train, evaluate, rungs
        self.report_url = ""

    @reads_fields
    def execute(self, context: Context) -> WrittenTable:
        """Compare the networks; return the table."""
        from snn_client.sweeps.drawing import sweep_svg
        from snn_client.sweeps.halving import climbed, is_halved
        from snn_client.sweeps.sweep import read_plan
        from snn_client.sweeps.table import lines, make_table, write_table
        from snn_cloud.aws.places import sweep_json

        outputs, clients = self.outputs, self.hook.clients
        plan = read_plan(clients, outputs.bucket, self.sweep["sweep_id"])
        ended = [_ended(self, context, plan, self.train, self.evaluate)]
        for rung, tasks in enumerate(self.rungs if is_halved(plan) else (), start=2):
            chosen = read_plan(clients, outputs.bucket, self.sweep["sweep_id"], rung)
            ended.append(_ended(self, context, chosen, *tasks))
        table = make_table(self.sweep, climbed(ended))
        for line in lines(table):
            self.log.info("%s", line)
        short = write_table(clients, outputs.bucket, table, sweep_svg(table))
        self.report_url = object_url(clients.s3, outputs.bucket, sweep_json(table["sweep_id"]))
        self.log.info("table: %s", self.report_url)
        if table["winner"] is None:
            rows = table["rows"]
            raise RunFailed(f"none of {len(rows)} combinations completed; the first one: {rows[0]['failure']}")
        context["ti"].xcom_push(key="winner", value=table["winner"])
        datasets = dict.fromkeys(one["dataset_key"] for one in plan)
        self.files = [f"s3://{outputs.bucket}/{key}" for key in datasets], [short["sweep_json"]]
        winner = {name: table["winner"][name] for name in ("combination", "score")}
        self.announce(context, short["sweep_json"], {"sweep_id": table["sweep_id"], **winner})
        return short
