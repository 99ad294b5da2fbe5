"""The tasks of retraining: choose what to train on, compare challenger and champion, promote, roll back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from snn.errors import InvalidInput
from snn_cloud.aws.errors import NotApproved
from snn_cloud.registry.record import DEFAULT_MODEL
from snn_operators.base import SnnOperator, reads_fields
from snn_operators.compat import AirflowSkipException
from snn_operators.fields import DECISION, DOCUMENT, ETAG, FLAG, NAME, NUMBER, Kind
from snn_operators.models import MODEL, asker

if TYPE_CHECKING:
    from airflow.sdk import Context

    from snn_client.models.challenge import Comparison, Decision
    from snn_client.models.champion import Candidate
    from snn_client.runs.uploads import Upload


class SnnChooseOperator(SnnOperator):
    """Choose the data set and the parameters of a challenger.

    The data set is the newest upload that the DAG run was started for, in the very version that was uploaded (others
    are named in the log), else ``dataset``. The parameters are ``parameters``, else those that the champion was trained
    with, else ``fallback``.

    With ``warm_start`` the training begins with the champion's weights (``initial_weights``), if there is a champion of
    a run; the network must be the same.

    Returns ``dataset`` and ``parameters``, as :class:`~snn_operators.stage.SnnStageOperator` takes them.

    .. seealso:: ``docs/operators.md``

    :param dataset: path or ``s3://`` address of a ``datasets.h5``, for a run that no upload started (templated)
    :param parameters: a mapping, JSON text, or a path or ``s3://`` address of ``parameters.json`` (templated)
    :param fallback: the same, for when there is no champion that says what it was trained with (templated)
    :param warm_start: whether to begin with the champion's weights instead of random ones (templated)
    :param model: whose champion that is (templated)
    """

    kinds: ClassVar[Mapping[str, Kind]] = {
        "model": MODEL,
        "dataset": NAME.or_else(None),
        "parameters": DOCUMENT.or_else(None),
        "fallback": DOCUMENT.or_else(None),
        "warm_start": FLAG.or_else(False),
    }
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json", "fallback": "json"}

    def __init__(
        self,
        *,
        dataset: str | None = None,
        parameters: str | Mapping[str, Any] | None = None,
        fallback: str | Mapping[str, Any] | None = None,
        warm_start: bool | str = False,
        model: str = DEFAULT_MODEL,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"multiple_outputs": True, **kwargs})
        self.dataset, self.parameters, self.fallback = dataset, parameters, fallback
        self.warm_start, self.model = warm_start, model

    @reads_fields
    def execute(self, context: Context) -> dict[str, Any]:
        """Choose; return what was chosen."""
        from snn_cloud.aws.places import params

        outputs = self.outputs
        dataset = self._uploaded(context, outputs.bucket) or self.dataset
        if not dataset:
            raise InvalidInput(
                "was neither uploaded nor given",
                field="dataset",
                hint=f"name one, or upload it under s3://{outputs.bucket}/retraining_input/",
            )
        champion = self._champion(outputs.bucket) if self.warm_start or not self.parameters else None
        parameters: Any = self.parameters or (champion and _own(champion)) or self.fallback
        if champion and not self.parameters and parameters is not self.fallback:
            self.log.info("parameters: the champion's, from run %s", champion.run_id)
        if not parameters:
            raise InvalidInput("are not given, and there is no champion to take them from", field="parameters")
        self.log.info("data set: %s", dataset)
        if self.warm_start and champion and champion.run_id:
            parameters = {**self._read(parameters), "initial_weights": params(champion.run_id)}
            self.log.info("begins with the weights of run %s", champion.run_id)
        self.log.info("parameters: %s", parameters)
        return {"dataset": dataset, "parameters": parameters}

    def _read(self, parameters: Any) -> dict[str, Any]:
        """Return the contents of parameters that may be a path or an address."""
        from snn_client.data.staging import read_source
        from snn_cloud.ledger.parameters import MAX_TEXT, Parameters

        if isinstance(parameters, Mapping):
            return dict(parameters)
        text = read_source(self.hook.clients.s3, parameters, MAX_TEXT)
        Parameters.load(text, source=parameters)  # which says in one line what is wrong with them
        return dict(json.loads(text))

    def _uploaded(self, context: Context, bucket: str) -> str | None:
        """Return the address of the newest upload that the DAG run was started for, None if none did."""
        from snn_client.runs.uploads import newest_first

        uploads = newest_first(upload for upload in _uploads(context) if upload.bucket == bucket)
        for upload in uploads[1:]:
            self.log.info("skipped, because there is a newer one: %s of %s", upload.address, upload.time)
        return uploads[0].address if uploads else None

    def _champion(self, bucket: str) -> Candidate | None:
        from snn_client.models.champion import find_champion

        return find_champion(self.hook.clients, bucket, self.model)


def _own(champion: Candidate) -> dict[str, Any] | None:
    """Return what the champion was trained with, without where it began and whether it paused."""
    parameters = champion.parameters
    passing = ("initial_weights", "pause_after")
    return None if parameters is None else {name: each for name, each in parameters.items() if name not in passing}


class SnnCompareOperator(SnnOperator):
    """Evaluate champion and challenger on the test set of the challenger's data, and decide which becomes champion.

    They can be compared only if the champion was trained for photos of this size and these classes; otherwise it
    stays, and the reason says so. The first champion needs no comparison. Besides the margin there must be evidence:
    McNemar's test of the accuracy, a paired bootstrap of every other metric. A test set that is too small to tell is
    named in the reason.

    Returns ``champion`` (its report, or None), ``challenger`` (its report), ``decision`` (promote, reason, metric,
    margin, champion, challenger, evidence, significance) and ``champion_etag``; each is an XCom of its own too.

    .. seealso:: ``docs/operators.md``

    :param run_id: the challenger, a completed run (templated)
    :param metric: any figure of a report's test set, such as accuracy, f1, roc_auc, log_loss, r2 or mae (templated)
    :param margin: minimum improvement required, in the metric's own unit (templated)
    :param significance: below what probability chance alone may explain the improvement; 1 asks for no evidence
        (templated)
    :param slice_by: what the test set is divided by, as for the evaluating task; by default what it says (templated)
    :param worst_slice: what the metric must reach in the worst slice; by default nothing (templated)
    :param model: whose champion it is compared with (templated)
    """

    kinds: ClassVar[Mapping[str, Kind]] = {
        "run_id": NAME,
        "metric": NAME.or_else("accuracy"),
        "margin": NUMBER.or_else(0.01),
        "significance": NUMBER.or_else(0.05),
        "slice_by": NAME.or_else(""),
        "worst_slice": NUMBER.or_else(None),
        "model": MODEL,
    }

    def __init__(
        self,
        *,
        run_id: str,
        metric: str = "accuracy",
        margin: float | str = 0.01,
        significance: float | str = 0.05,
        slice_by: str = "",
        worst_slice: float | str | None = None,
        model: str = DEFAULT_MODEL,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"multiple_outputs": True, **kwargs})
        self.run_id, self.metric, self.margin, self.significance = run_id, metric, margin, significance
        self.slice_by, self.worst_slice, self.model = slice_by, worst_slice, model

    @reads_fields
    def execute(self, context: Context) -> Comparison:
        """Compare; return both reports and the decision."""
        from snn_client.models.challenge import compare

        found = compare(
            self.hook.clients, self.outputs, self.run_id, metric=self.metric, margin=float(self.margin),
            significance=float(self.significance), slice_by=self.slice_by,
            worst_slice=None if self.worst_slice is None else float(self.worst_slice), model=self.model,
        )  # fmt: skip
        decision = found["decision"]
        self.log.info("%s: %s", "promote" if decision["promote"] else "do not promote", decision["reason"])
        return found


class SnnPromoteOperator(SnnOperator):
    """Make a run's model the champion, and keep the former one as the previous.

    It is skipped if the decision was not to, if the version was rejected, or if nobody approved it where the stack
    requires that. A run that is no version of the model yet is registered.

    Repeating it changes nothing. If the champion is no longer the one that was compared, the task fails. An
    ``AssetAlias`` among its ``outlets`` gets an event of the champion.

    Returns ``champion`` and ``previous``: the runs that trained them.

    .. seealso:: ``docs/operators.md``, ``docs/models.md``

    :param run_id: a completed run (templated)
    :param decision: what the compare task returned as ``decision``; None promotes in any case (templated)
    :param over: what the compare task returned as ``champion_etag``; None: any champion (templated)
    :param model: the model whose champion it becomes (templated)
    """

    kinds: ClassVar[Mapping[str, Kind]] = {
        "run_id": NAME,
        "decision": DECISION.or_else(None),
        "over": ETAG.or_else(None),
        "model": MODEL,
    }
    template_fields_renderers: ClassVar[dict[str, str]] = {"decision": "json"}

    def __init__(
        self, *, run_id: str, decision: Decision | None = None, over: str | None = None, model: str = DEFAULT_MODEL,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.run_id, self.decision, self.over, self.model = run_id, decision, over, model

    @reads_fields
    def execute(self, context: Context) -> dict[str, str]:
        """Promote; return who is champion and who was."""
        from snn_client.models import versions
        from snn_cloud.aws.places import champion, params

        if self.decision is not None and not self.decision["promote"]:
            raise AirflowSkipException(self.decision.get("reason", "it was decided otherwise"))
        clients, outputs, by = self.hook.clients, self.outputs, asker(self)
        version = versions.register(clients, outputs, self.run_id, self.model, by)
        try:
            change = versions.promote(clients, outputs, version["number"], self.model, by=by, over=self.over)
        except NotApproved as error:
            raise AirflowSkipException(str(error)) from None
        self.log.info("champion: run %s; before: %s", change.champion, change.previous or "none")
        made = f"s3://{outputs.bucket}/{champion(self.model).params}"
        self.files = [f"s3://{outputs.bucket}/{params(self.run_id)}"], [made]
        self.announce(context, made, asdict(change))
        return asdict(change)


class SnnRollbackOperator(SnnOperator):
    """Swap the champion and the previous one, byte for byte. Doing it twice restores the original state.

    Do not give it retries: a retry of a task that died after the swap would undo it. A previous champion that was
    rejected since stays where it is, and the task fails. An ``AssetAlias`` among its ``outlets`` gets an event of the
    champion.

    Returns ``champion`` and ``previous``: the runs that trained them.

    .. seealso:: ``docs/operators.md``, ``docs/models.md``

    :param model: the model whose champion is swapped (templated)
    """

    kinds: ClassVar[Mapping[str, Kind]] = {"model": MODEL}

    def __init__(self, *, model: str = DEFAULT_MODEL, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    @reads_fields
    def execute(self, context: Context) -> dict[str, str]:
        """Roll back; return who is champion and who was."""
        from snn_client.models import versions
        from snn_cloud.aws.places import champion

        outputs, keys = self.outputs, champion(self.model)
        change = versions.roll_back(self.hook.clients, outputs, self.model)
        self.log.info("champion: run %s; rolled back from: %s", change.champion, change.previous or "unknown")
        both = [f"s3://{outputs.bucket}/{key}" for key in (keys.params, keys.previous_params)]
        self.files = both, both
        self.announce(context, both[0], asdict(change))
        return asdict(change)


def _uploads(context: Context) -> list[Upload]:
    """Return the uploads in the events of `NewDataTrigger` that started the DAG run."""
    from snn_client.runs.uploads import Upload

    events = [event for some in (context.get("triggering_asset_events") or {}).values() for event in some]
    payloads = [event.extra.get("payload") for event in events]
    return [Upload(**one) for payload in payloads if isinstance(payload, dict) for one in payload.get("uploads", [])]
