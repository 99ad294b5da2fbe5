"""The tasks after training: evaluate the model, classify new photos, write the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.amazon.aws.utils.mixins import aws_template_fields

from snn_operators.base import SnnOperator, listed, plain_failure
from snn_operators.links import ReportLink, object_url

if TYPE_CHECKING:
    from airflow.sdk import Context


class SnnEvaluateOperator(SnnOperator):
    """Evaluate a run's model on the test set of the data it was trained on.

    Returns accuracy, error, sensitivity, specificity, false_positive_rate, precision, f1, confusion_matrix and
    mislabelled.

    .. seealso:: ``docs/operators.md``

    :param run_id: a completed run (templated)
    :param dataset_key: key of another data set in the stack's bucket to evaluate on; None: the run's own (templated)
    """

    template_fields: Sequence[str] = aws_template_fields("stack", "run_id", "dataset_key")

    def __init__(self, *, run_id: str, dataset_key: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run_id, self.dataset_key = run_id, dataset_key

    @plain_failure()
    def execute(self, context: Context) -> dict[str, Any]:
        """Judge the model; return the report's ``test_set``."""
        from snn_client.reports.report import evaluate_run
        from snn_cloud.aws.places import params

        outputs = self.outputs
        dataset_key = self.dataset_key or self.hook.ledger(outputs).get(self.run_id).dataset
        test_set = evaluate_run(self.hook.clients, outputs.bucket, self.run_id, dataset_key)
        self.files = [f"s3://{outputs.bucket}/{key}" for key in (params(self.run_id), dataset_key)], []
        self.log.info("accuracy %.3f on the test set, %s", test_set["accuracy"], test_set["confusion_matrix"])
        return test_set


class SnnPredictOperator(SnnOperator):
    """Classify photos with a run's model.

    A file that is not a photo fails the task with one line that names it. Returns a list of uri, predicted, class_name
    and probability, in the order of ``images``; an empty one for no images.

    .. seealso:: ``docs/operators.md``

    :param run_id: a completed run (templated)
    :param images: the photos as the stage task returned them, or paths or ``s3://`` addresses (templated)
    """

    template_fields: Sequence[str] = aws_template_fields("stack", "run_id", "images")
    template_fields_renderers: ClassVar[dict[str, str]] = {"images": "json"}

    def __init__(self, *, run_id: str, images: Sequence[Any] | str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run_id, self.images = run_id, images

    @plain_failure()
    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Classify the photos; return the report's ``new_images``."""
        from snn_client.reports.report import predict_images
        from snn_cloud.aws.places import params

        bucket, images = self.outputs.bucket, listed(self.images)
        answers = predict_images(self.hook.clients, bucket, self.run_id, images)
        self.files = [f"s3://{bucket}/{params(self.run_id)}", *folders(images)], []
        for answer in answers:
            self.log.info("%s: %s (%.3f)", answer["uri"], answer["class_name"], answer["probability"])
        return answers


class SnnReportOperator(SnnOperator):
    """Write ``report.json`` and ``report.html`` into the run's folder and return the report.

    The report stays under 48 KB whatever the data, so that XCom takes it.

    .. seealso:: ``docs/operators.md``

    :param run_id: a completed run (templated)
    :param test_set: what the evaluate task returned (templated)
    :param new_images: what the predict task returned (templated)
    :param images: the photos that were classified, as the stage task returned them: the page shows them (templated)
    """

    template_fields: Sequence[str] = aws_template_fields("stack", "run_id", "test_set", "new_images", "images")
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "test_set": "json", "new_images": "json", "images": "json",
    }  # fmt: skip
    operator_extra_links = (ReportLink(),)

    def __init__(
        self,
        *,
        run_id: str,
        test_set: Mapping[str, Any],
        new_images: Sequence[Mapping[str, Any]] = (),
        images: Sequence[Any] | str = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.run_id, self.test_set, self.new_images, self.images = run_id, test_set, new_images, images
        self.report_url = ""

    @plain_failure()
    def execute(self, context: Context) -> dict[str, Any]:
        """Write the report; return it."""
        from snn_client.reports.report import make_report
        from snn_cloud.aws.places import params, report_html, results

        outputs, clients = self.outputs, self.hook.clients
        run = self.hook.ledger(outputs).get(self.run_id)
        images = listed(self.images)
        report = make_report(clients, outputs, run, self.test_set, listed(self.new_images), images)
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
