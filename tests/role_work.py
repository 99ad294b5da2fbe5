"""What the product does with the permissions of its roles; each piece of work returns what a user saw fail, or ""."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cached_property
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import oracle
from backbones import PREPROCESSING, tiny
from botocore.exceptions import ClientError
from odd_photos import encoded
from PIL import Image
from served import KINDS, put_run
from small import photos, upload
from strict import DEPLOYED, Strict, denial

from snn.errors import SnnError
from snn_client.backbones import catalogue
from snn_client.backbones.features import Features
from snn_client.data.staging import stage, withdraw
from snn_client.models import versions
from snn_client.models.approval import announce
from snn_client.models.champion import promote
from snn_client.reports.report import evaluate_run
from snn_client.runs import runs
from snn_client.runs.listing import newest_runs
from snn_client.runs.logs import RunLogs
from snn_client.serving.asking import JSON_TYPE, ask
from snn_client.serving.batch import batch_predict
from snn_client.stack.artifacts import NOTEBOOK_PREFIX
from snn_client.stack.belongings import NOTEBOOK_LOGS
from snn_client.stack.change_set import apply, discard, propose
from snn_client.stack.cleanup import clean_up
from snn_client.stack.deploy import deploy_stack, finish_deploy
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_client.stack.status import wait_for_stack
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.registry.record import Status
from snn_cloud.serve.deployed import FRESH_SECONDS

PARAMETERS = oracle.small_network((3, 1), ("relu", "sigmoid"))
EPOCHS_WITHOUT_END = 10_000_000


def seen(work: Callable[[], object]) -> str:
    """Do it and return what it says when it fails, as a person reads it."""
    try:
        work()
    except (SnnError, ClientError) as error:
        return str(error)
    return ""


def asked(call: Callable[[], object]) -> str:
    """Ask AWS for something, which need not be possible, and return how it was denied; "" if it was not."""
    try:
        call()
    except ClientError as error:
        return denial(error)
    return ""


class Work:
    """The work of one stack's roles. `may` are the clients of whoever does it."""

    def __init__(self, on: Strict, folder: Path) -> None:
        self.on, self.stack, self.clients, self._folder = on, on.stack, on.clients, folder
        self._numbers = count(time.time_ns())

    @cached_property
    def data(self) -> bytes:
        """A small data set."""
        return photos()

    @cached_property
    def file(self) -> Path:
        """The data set as a file."""
        path = self._folder / "datasets.h5"
        path.write_bytes(self.data)
        return path

    def put(self, key: str, body: bytes = b"{}", bucket: str = "") -> str:
        """Put an object as the administrator; return its version."""
        return self.clients.s3.put_object(Bucket=bucket or self.stack.bucket, Key=key, Body=body).get("VersionId", "")

    def _new(self) -> str:
        """Return the name of a run that there never was."""
        return f"strict-{next(self._numbers)}"

    # ---- runs: what LaunchLambda and TrainerLambda do ----------------------------------------------------------------

    def run(self, key: str = "", may: Clients | None = None, wanted: Any = None, **request: Any) -> str:
        """Launch a run of staged data, or of what lies at `key`, and watch it to its end."""
        run_id = self._new()
        if not key:
            key = places.input_dataset(run_id, "0" * 64)
            self.put(key, self.data)
        return seen(lambda: self._run(may or self.clients, run_id, key, {**PARAMETERS, **(wanted or {})}, request))

    def _run(self, may: Clients, run_id: str, key: str, wanted: Any, request: Any) -> None:
        runs.launch(may, self.stack, run_id, key, Parameters.load(wanted), **request)
        self._watch(may, run_id)

    def _watch(self, may: Clients, run_id: str) -> None:
        runs.watch(may, self.stack, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=90)

    def upload(self, data: bytes | None = None) -> str:
        """Upload a data set with its parameters by hand, and watch the run that it starts."""
        uploaded = self.data if data is None else data
        run_id = upload(self.clients, self.stack, self._new(), uploaded, json.dumps(PARAMETERS))
        return seen(lambda: self._watch(self.clients, run_id))

    def uploaded_before(self) -> str:
        """Launch a run of an uploaded data set without naming its version."""
        key = f"training_input/{time.monotonic_ns()}/datasets.kept"
        self.put(key, self.data)
        return self.run(key)

    def neurons(self) -> str:
        """Train with an invocation for every neuron."""
        return self.run(wanted={"granularity": "neuron"})

    def continued(self) -> str:
        """Train with an invocation for every epoch; more epochs than Lambda has tries for an event."""
        return self.run(wanted={"epochs": 6}, trainer_seconds=0.01)

    def promoted(self) -> str:
        """Train and promote."""
        return self.run(promote=True)

    @cached_property
    def _cancelled(self) -> tuple[str, str, int]:
        """A cancelled run, its data set, and how many epochs it has."""
        run_id = self._new()
        key = places.input_dataset(run_id, "0" * 64)
        self.put(key, self.data)
        endless = Parameters.load({**PARAMETERS, "epochs": EPOCHS_WITHOUT_END})
        runs.launch(self.clients, self.stack, run_id, key, endless)
        return run_id, key, runs.stop(self.clients, self.stack, run_id).epoch

    def resumed(self) -> str:
        """Go on with a run that was cancelled, for three epochs."""
        older, key, epochs = self._cancelled
        return self.run(key, wanted={"epochs": epochs + 3}, resume_from=older)

    def announced(self) -> str:
        """Train; return what the trainer's log says of a message that could not be sent."""
        return self._unsent(self.stack.trainer_function, self.run)

    def announced_failure(self) -> str:
        """Upload what is no data set; return what LaunchLambda's log says of a message that could not be sent."""
        return self._unsent(self.stack.launch_function, lambda: self.upload(b"no data set"))

    def _unsent(self, function: str, work: Callable[[], str]) -> str:
        began = int(time.time() * 1000)
        work()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            events = self.clients.logs.filter_log_events(logGroupName=f"/aws/lambda/{function}", startTime=began)
            lines = [event["message"] for event in events["events"]]
            if any("COMPLETED" in line or "FAILED" in line for line in lines):
                return "".join(line for line in lines if line.startswith("not sent"))
            time.sleep(0.1)
        raise AssertionError(f"{function} said nothing")

    def gave_up(self, may: Clients) -> str:
        """Put an event that failed for good among the dead letters, and take it out again."""
        queues, url = self.on.client("sqs"), self.dead_letters
        said = asked(lambda: may.sqs.send_message(QueueUrl=url, MessageBody="{}"))
        for message in queues.receive_message(QueueUrl=url).get("Messages", []):
            queues.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return said

    @property
    def dead_letters(self) -> str:
        """The URL of the queue where failed invocations end."""
        return str(self.on.client("sqs").get_queue_url(QueueName=f"{self.stack.stack_name}-dead-letters")["QueueUrl"])

    @cached_property
    def stream(self) -> str:
        """The ARN of the ledger's stream."""
        return str(self.clients.dynamodb.describe_table(TableName=self.stack.table)["Table"]["LatestStreamArn"])

    def shard(self, may: Clients) -> str:
        """Return where to read the stream from."""
        streams = self.clients._make("dynamodbstreams")
        (shard, *_) = streams.describe_stream(StreamArn=self.stream)["StreamDescription"]["Shards"]
        asked = may._make("dynamodbstreams").get_shard_iterator(
            StreamArn=self.stream, ShardId=shard["ShardId"], ShardIteratorType="LATEST"
        )
        return str(asked["ShardIterator"])

    @property
    def new_data(self) -> str:
        """The URL of the queue of data sets to retrain on."""
        return str(self.on.client("sqs").get_queue_url(QueueName=f"{self.stack.stack_name}-new-data")["QueueUrl"])

    # ---- features: what FeatureLambda does ---------------------------------------------------------------------------

    def saw(self, may: Clients | None = None, backbone: int = 0, size: int = 8) -> str:
        """Have the features of a photo computed that nobody has seen."""
        content, number = tiny(backbone), next(self._numbers)
        reference = catalogue.check(content, PREPROCESSING, "tiny", "tiny.onnx")
        catalogue.add(self.clients, self.stack.bucket, content, reference)
        picture = Image.fromarray(np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8))
        photo = encoded(picture, "PNG")

        def see() -> None:
            ((_, bad),) = Features(may or self.clients, self.stack, reference).of([lambda: photo])
            if bad:
                raise CloudError(bad[0][1])

        return seen(see)

    def saw_anew(self) -> str:
        """Have them computed by a backbone that no function has read yet."""
        return self.saw(backbone=next(self._numbers))

    def saw_large(self, may: Clients | None = None) -> str:
        """Have those of a photo computed that is too large to travel with an invocation."""
        return self.saw(may, size=1_100)

    # ---- the endpoint: what PredictLambda does -----------------------------------------------------------------------

    def answered(self, model: str = "", target: str = "") -> str:
        """Have the endpoint answer by a champion that it has not read yet; another model's, if one is named."""
        run_id = self._new()
        kind = KINDS["features of three classes"]
        put_run(self.clients, self.stack, run_id, kind.file(run_id))
        version = versions.promote(self.clients, self.stack, run_id, model or "default")
        time.sleep(FRESH_SECONDS + 0.1)
        assert version.champion == run_id
        number = versions.registry_of(self.clients, self.stack).get(model or "default", run_id)["number"]
        body = json.dumps({"instances": [[0.5] * kind.shape[0]]}).encode()
        wanted = target.format(run_id=run_id, number=number) or model
        keys = ("test", "test", None)
        return seen(lambda: ask(self.clients, self.stack, body, JSON_TYPE, secrets=keys, target=wanted) and None)

    def counted(self) -> str:
        """Have it answer, and look whether the registry has counted that."""
        before = set(versions.registry_of(self.clients, self.stack).served("default"))
        told = self.answered()
        after = set(versions.registry_of(self.clients, self.stack).served("default"))
        return told or ("" if after > before else "nothing of it is counted")

    def answered_by_another_model(self) -> str:
        """Have it answer by the champion of another model than the default one."""
        return self.answered("other")

    def answered_by_a_version(self) -> str:
        """Have it answer by a version that it has not read yet, named by its run."""
        return self.answered(target="default/{run_id}")

    def answered_by_a_number(self) -> str:
        """Have it answer by a version that is named by its number."""
        return self.answered(target="default/{number}")

    # ---- batches: what PredictLambda does ----------------------------------------------------------------------------

    def batched(self, may: Clients | None = None, size: int = 8) -> str:
        """Have a photo in the bucket answered; a large one is not there, and goes by S3 too."""
        run_id, number, kind = self._new(), next(self._numbers), KINDS["photos with numbers"]
        put_run(self.clients, self.stack, run_id, kind.file(run_id))
        versions.register(self.clients, self.stack, run_id, "batches")
        picture = Image.fromarray(np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8))
        source = f"s3://{self.stack.bucket}/{'batch_input' if size < 1_000 else 'runs'}/{run_id}/photos/"
        self.put(f"{source.removeprefix(f's3://{self.stack.bucket}/')}1.png", encoded(picture, "PNG"))

        def answer() -> None:
            done = batch_predict(may or self.clients, self.stack, source, model="batches", version=run_id)
            assert (done["answered"], done["bad"]) == (1, 0)

        return seen(answer)

    def batched_large(self) -> str:
        """Have a photo answered that is too large to travel with an invocation."""
        return self.batched(size=1_100)

    # ---- what people and Airflow do ----------------------------------------------------------------------------------

    def found(self, may: Clients) -> str:
        """Look the stack up."""
        return seen(lambda: StackOutputs.load(may, self.stack.stack_name))

    def staged(self, may: Clients) -> str:
        """Put a run's input where it belongs."""
        chosen = Parameters.load(PARAMETERS)
        return seen(lambda: stage(may, self.stack.bucket, self._new(), self.file, chosen))

    def withdrawn(self, may: Clients) -> str:
        """Take back a run's input."""
        run_id = self._new()
        stage(self.clients, self.stack.bucket, run_id, self.file, Parameters.load(PARAMETERS))
        return seen(lambda: withdraw(may, self.stack.bucket, run_id))

    @cached_property
    def _finished(self) -> tuple[str, str]:
        """A completed run and its data set."""
        run_id = self._new()
        key = places.input_dataset(run_id, "0" * 64)
        self.put(key, self.data)
        self._run(self.clients, run_id, key, PARAMETERS, {})
        return run_id, key

    def watched(self, may: Clients) -> str:
        """Watch a run that is over."""
        return seen(lambda: self._watch(may, self._finished[0]))

    def judged(self, may: Clients) -> str:
        """Judge a run by its test set."""
        return seen(lambda: evaluate_run(may, self.stack.bucket, *self._finished))

    def cancelled(self, may: Clients) -> str:
        """Cancel a run that is over, which changes nothing and asks all the same."""
        return seen(lambda: runs.cancel(may, self.stack, self._finished[0]))

    def registered(self, may: Clients) -> str:
        """Make a run a version of a model that there was none of, and have it decided on and promoted."""
        model = self._new()

        def work() -> None:
            version = versions.register(may, self.stack, self._finished[0], model)
            versions.registry_of(may, self.stack).decide(model, version["number"], Status.APPROVED, "ann")
            versions.promote(may, self.stack, version["number"], model)

        return seen(work)

    def tried_again(self, may: Clients) -> str:
        """Put a version on trial that was asked something in a trial before: its counters begin anew."""
        model, run_id = self._new(), self._finished[0]
        registry = versions.registry_of(self.clients, self.stack)
        versions.register(self.clients, self.stack, run_id, model)
        registry.count(model, run_id, {"requests": 1})
        return seen(lambda: versions.registry_of(may, self.stack).begin_trial(model, run_id, "shadow"))

    def told_of_a_version(self, may: Clients) -> str:
        """Tell the topic that a version waits for approval; return what the log says."""
        version = versions.register(self.clients, self.stack, self._finished[0], self._new())
        said = StringIO()
        with redirect_stdout(said):
            announce(may, self.stack, version)
        return said.getvalue()

    def listed(self, may: Clients) -> str:
        """List the newest runs."""
        return seen(lambda: list(newest_runs(may.dynamodb, self.stack.table)))

    def read_logs(self, may: Clients) -> str:
        """Read what a run's functions printed."""
        return seen(lambda: RunLogs(may.logs, self.stack, self._finished[0], 0).new())

    def _forget_champion(self) -> None:
        for place in ("predict_input/", "training_results/"):
            pages = self.clients.s3.get_paginator("list_object_versions")
            for page in pages.paginate(Bucket=self.stack.bucket, Prefix=place):
                for item in (*page.get("Versions", []), *page.get("DeleteMarkers", [])):
                    self.clients.s3.delete_object(
                        Bucket=self.stack.bucket, Key=item["Key"], VersionId=item["VersionId"]
                    )

    def champion_over_a_hand_s(self, may: Clients) -> str:
        """Promote a model over one that somebody put there without its results."""
        self._forget_champion()
        run_id, _ = self._finished
        model = self.clients.s3.get_object(Bucket=self.stack.bucket, Key=places.params(run_id))["Body"].read()
        self.put(places.PROMOTED_PARAMS, model.replace(run_id.encode(), run_id.encode()[::-1]))
        return seen(lambda: promote(may, self.stack.bucket, run_id))

    def deployed_and_cleaned_up(self, may: Clients) -> str:
        """Deploy a stack by a change set, change it, and take it away."""
        try:
            return seen(lambda: self._deploy_and_clean_up(may, DEPLOYED))
        finally:
            clean_up(self.clients, DEPLOYED, cancel_runs=True)

    def looked_at_and_left(self, may: Clients) -> str:
        """Look at what a deployment would do, and decline."""
        options = StackOptions.from_environment(stack_name=DEPLOYED, with_cache=False)

        def look() -> None:
            changes = propose(may, options, lambda line: None)
            assert changes is not None
            discard(may, changes)

        try:
            return seen(look)
        finally:
            clean_up(self.clients, DEPLOYED)

    def deployed_at_once(self, may: Clients) -> str:
        """Deploy a stack without looking at what would change."""
        options = StackOptions.from_environment(stack_name=DEPLOYED, with_cache=False)
        try:
            return seen(lambda: deploy_stack(may, options))
        finally:
            clean_up(self.clients, DEPLOYED)

    def _deploy_and_clean_up(self, may: Clients, name: str) -> None:
        changes = propose(may, StackOptions.from_environment(stack_name=name, with_cache=False), lambda line: None)
        assert changes is not None
        operation = apply(may, changes)
        wait_for_stack(may, operation, lambda line: None)
        finish_deploy(may, name, operation)
        deploy_stack(may, StackOptions.from_environment(stack_name=name, with_cache=False, log_retention_days=7))
        outputs, logs = StackOutputs.load(self.clients, name), self.clients.logs
        self.put("runs/left/x", bucket=outputs.bucket)
        # As if there had been a notebook instance: its package, and its logs in the account's one group for such.
        self.put(f"{NOTEBOOK_PREFIX}1/x.whl", bucket=outputs.artifact_bucket)
        if not logs.describe_log_groups(logGroupNamePrefix=NOTEBOOK_LOGS)["logGroups"]:
            logs.create_log_group(logGroupName=NOTEBOOK_LOGS)
        logs.create_log_stream(logGroupName=NOTEBOOK_LOGS, logStreamName=f"{name}-notebook/jupyter.log")
        clean_up(may, name)
