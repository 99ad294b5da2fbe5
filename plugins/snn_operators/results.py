"""The tasks after training: evaluate the model, classify new photos, write the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from snn_operators.base import SnnOperator, reads_fields
from snn_operators.fields import ANSWERS, MAPPING, NAME, PHOTOS, Kind
from snn_operators.links import ReportLink, object_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from snn_client.reports.contents import NewImage, Report
    from snn_client.reports.metrics import TestSet
    from snn_client.runs.lists import Shortened

LOGGED = 100  # answers


class SnnEvaluateOperator(SnnOperator):
    """Evaluate a run's model on the test set of the data it was trained on.

    Returns, of two classes, accuracy, error, sensitivity, specificity, false_positive_rate, precision, f1, roc_auc,
    average_precision, log_loss, brier, curves, calibration, confusion_matrix and mislabelled; of more, and of numbers,
    what ``docs/judging.md`` lists. ``intervals`` has the 95 % interval of each figure, ``slices`` the figures by slice.

    .. seealso:: ``docs/operators.md``

    :param run_id: a completed run (templated)
    :param dataset_key: key of another data set in the stack's bucket to evaluate on; None: the run's own (templated)
    :param slice_by: the name of a column of a table, by whose values the test set is divided; by default the folders
        that its photos were in (templated)
    """

    kinds: ClassVar[Mapping[str, Kind]] = {
        "run_id": NAME,
        "dataset_key": NAME.or_else(None),
        "slice_by": NAME.or_else(""),
    }

    def __init__(self, *, run_id: str, dataset_key: str | None = None, slice_by: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run_id, self.dataset_key, self.slice_by = run_id, dataset_key, slice_by

    @reads_fields
    def execute(self, context: Context) -> TestSet:
        """Judge the model; return the report's ``test_set``."""
        from snn_client.reports.report import evaluate_run
        from snn_client.reports.sections import in_a_line
        from snn_cloud.aws.places import params

        outputs = self.outputs
        dataset_key = self.dataset_key or self.hook.ledger(outputs).get(self.run_id).dataset
        test_set = evaluate_run(self.hook.clients, outputs.bucket, self.run_id, dataset_key, self.slice_by)
        self.files = [f"s3://{outputs.bucket}/{key}" for key in (params(self.run_id), dataset_key)], []
        self.log.info("on the test set: %s", in_a_line(test_set))
        return test_set


class SnnPredictOperator(SnnOperator):
    """Classify photos, or the rows of tables, with a run's model.

    Files that are not photos fail the task with one line that names them. Returns a list of uri, predicted, class_name
    and probability, or, from a model that predicts numbers, of uri and value, in the order of ``images``; an empty one
    for no images. A list of hundreds is shortened: to its first items (``head``), their ``count``, and the address of
    the ``whole`` list in S3; the report takes either.

    .. seealso:: ``docs/operators.md``

    :param run_id: a completed run (templated)
    :param images: the photos or tables as the stage task returned them, or paths or ``s3://`` addresses (templated)
    """

    kinds: ClassVar[Mapping[str, Kind]] = {"run_id": NAME, "images": PHOTOS.or_else(())}
    template_fields_renderers: ClassVar[dict[str, str]] = {"images": "json"}

    def __init__(self, *, run_id: str, images: Sequence[Any] | Shortened | str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run_id = run_id
        self.images: Any = images

    @reads_fields
    def execute(self, context: Context) -> list[NewImage] | Shortened:
        """Classify the photos; return the report's ``new_images``."""
        from snn_client.backbones.features import features_by
        from snn_client.reports.predicting import predict_images
        from snn_client.reports.sections import answer_in_a_line
        from snn_client.runs.lists import shortened, whole
        from snn_cloud.aws.places import new_images, params

        clients, bucket = self.hook.clients, self.outputs.bucket
        images = whole(clients, self.images)
        answers = predict_images(clients, bucket, self.run_id, images, features_by(clients, self.outputs))
        self.files = [f"s3://{bucket}/{params(self.run_id)}", *folders(images)], []
        for answer in answers[:LOGGED]:
            self.log.info("%s", answer_in_a_line(answer))
        return shortened(clients, bucket, partial(new_images, self.run_id), answers)


class SnnReportOperator(SnnOperator):
    """Write ``report.json``, ``report.html`` and ``model_card.md`` into the run's folder and return the report.

    The report stays under 48 KB whatever the data, so that XCom takes it. With the extra ``backbones`` the folder gets
    ``model.onnx`` too.

    .. seealso:: ``docs/operators.md``

    :param run_id: a completed run (templated)
    :param test_set: what the evaluate task returned (templated)
    :param new_images: what the predict task returned (templated)
    :param images: the photos that were classified, as the stage task returned them: the page shows them (templated)
    :param intended_use: what the model is for, and what not; it stands in the model card (templated)
    """

    kinds: ClassVar[Mapping[str, Kind]] = {
        "run_id": NAME,
        "test_set": MAPPING,
        "new_images": ANSWERS.or_else(()),
        "images": PHOTOS.or_else(()),
        "intended_use": NAME.or_else(""),
    }
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "test_set": "json", "new_images": "json", "images": "json",
    }  # fmt: skip
    operator_extra_links = (ReportLink(),)

    def __init__(
        self,
        *,
        run_id: str,
        test_set: TestSet,
        new_images: Sequence[NewImage] | Shortened = (),
        images: Sequence[Any] | Shortened | str = (),
        intended_use: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.run_id, self.test_set, self.intended_use = run_id, test_set, intended_use
        self.new_images: Any = new_images
        self.images: Any = images
        self.report_url = ""

    @reads_fields
    def execute(self, context: Context) -> Report:
        """Write the report; return it."""
        from snn_client.reports.report import make_report
        from snn_client.runs.lists import whole
        from snn_cloud.aws.places import params, report_html, results

        outputs, clients = self.outputs, self.hook.clients
        run = self.hook.ledger(outputs).get(self.run_id)
        images, new_images = whole(clients, self.images), whole(clients, self.new_images)
        report = make_report(clients, outputs, run, self.test_set, new_images, images, intended_use=self.intended_use)
        read = [f"s3://{outputs.bucket}/{key}" for key in (params(run.run_id), results(run.run_id), run.dataset)]
        made = [report["artifacts"][name] for name in ("report_html", "report_json")]
        self.files = [*read, *folders(images)], made
        self.report_url = object_url(clients.s3, outputs.bucket, report_html(run.run_id))
        self.log.info("report: %s", self.report_url)
        return report


def folders(images: Sequence[Any]) -> list[str]:
    """Return where photos lie, each folder once: thousands of photos are not thousands of data sets."""
    uris = [image["uri"] if isinstance(image, Mapping) else str(image) for image in images]
    return list(dict.fromkeys(uri.rpartition("/")[0] or "." for uri in uris))
