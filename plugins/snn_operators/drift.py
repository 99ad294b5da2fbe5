"""The task before training: whether the data are still those that the champion was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from snn.errors import InvalidInput
from snn_operators.base import SnnOperator, reads_fields
from snn_operators.compat import AirflowFailException, AirflowSkipException
from snn_operators.fields import NAME, NUMBER, Kind
from snn_operators.links import RunLink, object_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from snn_client.drift.comparing import Drift

ON_DRIFT = ("warn", "fail", "skip")


class NewDataLink(RunLink):
    """Lead to the data that were compared, if they lie in S3."""

    name = "New data"


class FormerDataLink(RunLink):
    """Lead to the data that they were compared with."""

    name = "Former data"


class SnnDriftOperator(SnnOperator):
    """Compare staged data with those that the champion was trained on.

    Before the first champion, and where nobody can read its data any more, the task passes and says so. Each finding is
    a line of the log. What comes of drift is up to ``on_drift``: ``warn`` passes, ``fail`` fails without a retry,
    ``skip`` skips the task, and what depends on it. An error in what is compared fails in any case.

    Returns ``drifted``, ``tests``, ``findings``, ``notes``, ``outcome``, ``reason`` and what else ``docs/drift.md``
    lists; of very many columns the tests that weigh least are left out, so that XCom takes it. It is pushed before the
    task fails or is skipped, too.

    .. seealso:: ``docs/drift.md``

    :param dataset_key: key of the new data in the stack's bucket, as the stage task returned it, or a path or ``s3://``
        address (templated)
    :param against: what to compare with: ``champion``, a run, or a path or ``s3://`` address (templated)
    :param on_drift: ``warn``, ``fail`` or ``skip`` (templated)
    :param alpha: how often it may be said of data that are alike, at most (templated)
    """

    kinds: ClassVar[Mapping[str, Kind]] = {
        "dataset_key": NAME,
        "against": NAME.or_else("champion"),
        "on_drift": NAME.or_else("warn"),
        "alpha": NUMBER.or_else(0.001),
    }
    operator_extra_links = (NewDataLink(), FormerDataLink())

    def __init__(
        self,
        *,
        dataset_key: str,
        against: str = "champion",
        on_drift: str = "warn",
        alpha: float | str = 0.001,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dataset_key, self.against, self.on_drift, self.alpha = dataset_key, against, on_drift, alpha
        self.links: dict[str, str] = {}

    @reads_fields
    def execute(self, context: Context) -> Drift:
        """Compare; return the report."""
        from snn_client.data.addresses import address_of
        from snn_client.drift.comparing import find_drift, fitting
        from snn_cloud.aws.places import may_be_dataset

        if self.on_drift not in ON_DRIFT:
            raise InvalidInput(f"is {self.on_drift!r}", field="on_drift", hint=f"one of {', '.join(ON_DRIFT)}")
        outputs, clients = self.outputs, self.hook.clients
        data = f"s3://{outputs.bucket}/{self.dataset_key}" if may_be_dataset(self.dataset_key) else self.dataset_key
        found = fitting(find_drift(clients, outputs, data, self.against, alpha=float(self.alpha)))
        self.files = [source for source in (data, found["against"]) if source], []
        for link, source in ((NewDataLink(), data), (FormerDataLink(), found["against"])):
            if address := address_of(source) if source else None:
                self.links[link.xcom_key] = object_url(clients.s3, address.bucket, address.key)
        for line in (found["reason"], *found["notes"], *(finding["text"] for finding in found["findings"])):
            if line:
                self.log.warning("%s", line)
        if not found["drifted"] and found["outcome"] == "compared":
            self.log.info("no change that matters: %d features compared", len(found["tests"]))
        if not found["drifted"] or self.on_drift == "warn":
            return found
        context["ti"].xcom_push(key="return_value", value=found)
        text = f"the data have changed: {found['findings'][0]['text']}"
        raise AirflowFailException(text) if self.on_drift == "fail" else AirflowSkipException(text)
