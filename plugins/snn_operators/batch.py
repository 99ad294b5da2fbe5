"""The task that has many photos, or the rows of a table, answered."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar

from snn_operators.base import SnnOperator, reads_fields
from snn_operators.fields import NAME, NUMBER, Kind

if TYPE_CHECKING:
    from airflow.sdk import Context

    from snn_client.serving.batch_contents import Manifest


class SnnBatchPredictOperator(SnnOperator):
    """Have PredictLambda answer many photos, or the rows of a table, by a version of a model.

    The inputs are cut into parts, which many invocations answer at a time; each part's answers are one object in S3.
    A task that is killed, or tried again, goes on with the parts that are missing, and so does one with a larger
    ``max_usd``; of a batch that is done it returns the manifest, and asks nothing. Bad inputs fail no task: they are
    listed beside the result. An ``AssetAlias`` among its ``outlets`` gets an event of the result.

    Returns the manifest: ``batch_id``, ``model``, ``inputs``, ``answered``, ``bad``, ``parts``, ``result``, ``errors``,
    ``cost`` and more.

    .. seealso:: ``docs/batch.md``

    :param source: a folder of photos, an ``s3://`` prefix of them that ends in ``/``, or a CSV or Parquet file
        (templated)
    :param model: the name of the model (templated)
    :param version: the number of a version, or its run; None: the champion (templated)
    :param format: of the result: ``jsonl``, ``csv`` or ``parquet`` (templated)
    :param max_usd: what the batch may cost, at list prices; None: no limit (templated)
    :param at_once: invocations at a time (templated)
    :param batch_id: a name for the batch; None: one that stands for the source as it is and the version (templated)
    """

    kinds: ClassVar[Mapping[str, Kind]] = {
        "source": NAME,
        "model": NAME.or_else("default"),
        "version": NAME.or_else(""),
        "format": NAME.or_else("jsonl"),
        "max_usd": NUMBER.or_else(None),
        "at_once": NUMBER.or_else(8),
        "batch_id": NAME.or_else(""),
    }

    def __init__(
        self,
        *,
        source: str,
        model: str = "default",
        version: str | int | None = None,
        format: str = "jsonl",
        max_usd: float | str | None = None,
        at_once: int | str = 8,
        batch_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source, self.model = source, model
        self.version: Any = version
        self.format: Any = format
        self.max_usd: Any = max_usd
        self.at_once: Any = at_once
        self.batch_id: Any = batch_id
        self._over = Event()

    @reads_fields
    def execute(self, context: Context) -> Manifest:
        """Have all inputs answered; return the manifest."""
        from snn_client.serving.batch import batch_predict
        from snn_cloud.cost.formats import dollars

        done = batch_predict(
            self.hook.clients, self.outputs, self.source, model=self.model, version=self.version,
            kind=self.format, batch_id=self.batch_id, max_usd=self.max_usd, at_once=int(self.at_once),
            over=self._over,
        )  # fmt: skip
        self.log.info(
            "batch %s: %s answers by %s/%d, %s bad inputs, %s USD (estimate %s): %s", done["batch_id"],
            f"{done['answered']:,}", done["model"]["name"], done["model"]["version"], f"{done['bad']:,}",
            dollars(done["cost"]["usd"]), dollars(done["estimate_usd"]), done["result"],
        )  # fmt: skip
        self.files = [self.source], [uri for uri in (done["result"], done["errors"]) if uri]
        self.announce(context, done["result"], {"batch_id": done["batch_id"], "version": done["model"]["version"]})
        return done

    def on_kill(self) -> None:
        """Begin no further part. Those under way end by themselves, and the next try finds them."""
        self._over.set()
