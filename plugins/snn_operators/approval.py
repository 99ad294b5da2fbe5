"""A person's approval in a DAG: the task waits, deferred, until somebody has answered, in Airflow or to the registry.

The registry decides: whatever is answered is written there, on the condition that nobody has decided before, and the
first answer wins. Airflow's own question (human in the loop) is a second door to it:

    UI, REST API  ── answer ──▶  the task wakes up  ── decide(by=the person) ──▶  registry
    snn models approve, reject  ─────────────── decide ───────────────────────▶  registry  ◀── looked at by the trigger
    deadline                    ── trigger: decide(by=deadline) ──────────────▶  registry

From 3.3 on Airflow wakes the task itself; before, only the trigger sees the answer. Nothing is kept in memory: a
trigger that is started anew, with what it was made of, finds the question, the registry and the deadline as they were.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from snn.errors import InvalidInput
from snn_cloud.aws.errors import CloudError
from snn_cloud.aws.passing import AWS_ERRORS, passes, reason
from snn_cloud.registry.record import DEFAULT_MODEL, Status
from snn_operators.approval_trigger import ApprovalTrigger
from snn_operators.base import SnnOperator, reads_fields
from snn_operators.compat import AirflowSkipException, hitl
from snn_operators.fields import FLAG, MAPPING, NAME, NUMBER, Kind
from snn_operators.links import object_url
from snn_operators.models import MODEL, asker

if TYPE_CHECKING:
    from airflow.sdk import Context

    from snn_client.models.approval import Answer
    from snn_client.models.challenge import Comparison
    from snn_cloud.registry.record import Version

# How long an answer that cannot be written is tried again, before the task fails: its retry would ask anew.
NOTED_WITHIN, NOTED_EVERY = 600.0, 5.0  # seconds


class SnnApprovalOperator(SnnOperator):
    """Wait, deferred, until somebody has approved or rejected a candidate; the first answer wins.

    People are asked in Airflow (the task's *Required Actions*, the REST API), with the figures of both models, the
    decision and a link to the report; ``snn models approve`` and ``snn models reject`` answer too. The registry
    keeps who has decided. When the waiting begins, the stack's topic tells of it, once. A run that is no version of the
    model yet is registered. Killing the task leaves the candidate undecided.

    It is skipped if the comparison decided not to promote, or if approval is not ``wanted`` and the stack does not
    require it. Nobody's answer is a failure: a version that was rejected is skipped by
    :class:`~snn_operators.champion.SnnPromoteOperator`.

    Returns ``model``, ``number``, ``run_id``, ``status`` (approved or rejected), ``by``, ``reason`` and ``at``.

    .. seealso:: ``docs/operators.md``, ``docs/models.md``

    :param run_id: a completed run (templated)
    :param model: the model whose champion it wants to be (templated)
    :param comparison: what the compare task returned (templated)
    :param wanted: whether to ask also where the stack does not require approval (templated)
    :param response_timeout: how long to wait, in seconds or as a timedelta, from when people were first asked; None:
        for ever (templated)
    :param default: what is taken when nobody has answered by then, ``approve`` or ``reject`` (templated)
    :param poll_interval: seconds between two looks at the registry
    """

    kinds: ClassVar[Mapping[str, Kind]] = {
        "run_id": NAME,
        "model": MODEL,
        "comparison": MAPPING.or_else(None),
        "wanted": FLAG.or_else(True),
        "response_timeout": NUMBER.or_else(None),
        "default": NAME.or_else("reject"),
    }
    template_fields_renderers: ClassVar[dict[str, str]] = {"comparison": "json"}

    def __init__(
        self,
        *,
        run_id: str,
        model: str = DEFAULT_MODEL,
        comparison: Comparison | str | None = None,
        wanted: bool | str = True,
        response_timeout: timedelta | float | str | None = None,
        default: str = "reject",
        poll_interval: float = 5.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.run_id, self.model, self.wanted, self.default = run_id, model, wanted, default
        self.comparison: Any = comparison
        given = response_timeout
        self.response_timeout: Any = given.total_seconds() if isinstance(given, timedelta) else given
        self.poll_interval = poll_interval

    @reads_fields
    def execute(self, context: Context) -> Answer:
        """Ask, and wait for the answer; return it at once if somebody has decided already."""
        from snn_client.models import approval, versions
        from snn_cloud.aws.places import report_html

        found: Comparison | None = self.comparison
        clients, outputs = self.hook.clients, self.outputs
        default = approval.status_of(self.default, "default")
        limit = self.response_timeout
        if limit is not None and limit <= 0:
            raise InvalidInput(f"is {limit!r}", field="response_timeout", hint="give seconds, or None to wait for ever")
        if found is not None and not found["decision"]["promote"]:
            raise AirflowSkipException(found["decision"]["reason"])
        if not self.wanted and not outputs.require_approval:
            raise AirflowSkipException("neither the DAG run nor the stack asks for approval")
        registry = versions.registry_of(clients, outputs)
        test_set: Any = found["challenger"]["test_set"] if found else None
        version = versions.register(clients, outputs, self.run_id, self.model, asker(self), test_set)
        if version["status"] != Status.CANDIDATE:
            return self._answer(version)
        deadline = None if limit is None else (version["asked_at"] or time.time()) + limit
        champion = None if found else versions.champion_of(clients, outputs, self.model)
        report = object_url(clients.s3, outputs.bucket, report_html(self.run_id))
        asked = approval.question(version, found, champion, report, deadline, default)
        ti_id = ask_people(context, asked, approval.option_of(default), list(approval.OPTIONS))
        if registry.ask(self.model, self.run_id):
            approval.announce(clients, outputs, version, found["decision"]["reason"] if found else "")
        self.log.info("version %d of %s waits for approval", version["number"], version["model"])
        self.defer(
            trigger=ApprovalTrigger(
                aws=self._hook_parameters, stack=outputs.to_dict(), model=self.model, run_id=self.run_id, ti_id=ti_id,
                deadline=deadline, default=str(default), poll_interval=self.poll_interval,
            ),
            method_name="execute_complete",
        )  # fmt: skip
        raise AssertionError("deferring raises")

    @reads_fields
    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> Answer:
        """Write what a person has answered in Airflow, unless somebody was first; return what was decided.

        `event` is the trigger's, or what Airflow itself makes of an answer: the latter has `chosen_options`.
        """
        if event.get("status") == "error":
            raise CloudError(event["message"])
        return self._answer(self._decided(event))

    def _decided(self, event: Mapping[str, Any]) -> Version:
        """Return the version as it is decided, once that is written: another try of the task would ask anew."""
        from snn_client.models import approval, versions

        until = time.monotonic() + NOTED_WITHIN
        while True:
            try:
                registry = versions.registry_of(self.hook.clients, self.outputs)
                version = registry.held(self.model, self.run_id)
                if not event.get("chosen_options"):
                    return version
                (option,) = event["chosen_options"]
                person = (event.get("responded_by_user") or {}).get("name") or asker(self)
                status, why = approval.status_of(option, "answer"), f"answered in {asker(self)}"
                decided = approval.decide_first(registry, version, status, person, why)
                told = decided["decided"]
                if told and (told["by"], decided["status"]) != (person, status):
                    self.log.info("%s answered %s, but somebody was first", person, option)
                return decided
            except AWS_ERRORS as error:
                if not passes(error) or time.monotonic() > until:
                    raise
                self.log.info("cannot write the answer now, retrying: %s", reason(error))
                time.sleep(NOTED_EVERY)

    def _answer(self, version: Version) -> Answer:
        from snn_client.models.approval import answer_of

        if version["status"] not in (Status.APPROVED, Status.REJECTED):
            raise CloudError(f"nobody has decided on version {version['number']} of {version['model']}")
        answer = answer_of(version)
        why = f": {answer['reason']}" if answer["reason"] else ""
        self.log.info("version %d of %s: %s by %s%s", answer["number"], answer["model"], answer["status"],
                      answer["by"] or "somebody", why)  # fmt: skip
        return answer


def ask_people(context: Context, asked: tuple[str, str], default: str, options: list[str]) -> str:
    """Ask in Airflow, where it can; return the task instance that asks, "" if Airflow asks nobody.

    :param asked: a headline, and a text in Markdown
    """
    ti = context.get("ti")
    if hitl is None or ti is None:
        return ""
    subject, body = asked
    hitl.upsert_hitl_detail(ti_id=ti.id, options=options, subject=subject, body=body, defaults=[default], params={})
    return str(ti.id)
