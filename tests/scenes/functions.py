"""What the Lambda functions do."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from itertools import count
from typing import Any

from answers import ABSENT, Answers, Refused, body
from botocore.response import StreamingBody
from training import Lesson
from training import photos as dataset

from scenes.common import BUCKET, KEY, PARAMETERS, RUN, SETTINGS, Ledgers, data, objects
from snn.batches import Batch
from snn_cloud.aws import places
from snn_cloud.aws.objects import ObjectFile, read_object
from snn_cloud.launch.launching import launch
from snn_cloud.launch.starting import start_trainer
from snn_cloud.ledger.messages import SUBJECT, Messages
from snn_cloud.ledger.record import State, Usage
from snn_cloud.train.neuron_pool import NeuronPool
from snn_cloud.train.training import advance


def scene_an_object_read_whole_and_in_part() -> Answers:
    answers = Answers({"s3.GetObject": objects()})
    assert read_object(answers.clients, BUCKET, KEY, "v1") == data()
    file = ObjectFile(answers.clients, BUCKET, KEY)
    file.seek(10)
    assert (file.size, file.read(4)) == (len(data()), data()[10:14])
    return answers


def scene_an_object_of_several_blocks() -> Answers:
    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        first = int(asked["Range"].removeprefix("bytes=").partition("-")[0])
        return {**body(b"%d" % first), "ContentRange": f"bytes {first}-{first}/9000000"}

    answers = Answers({"s3.GetObject": answer})
    file = ObjectFile(answers.clients, BUCKET, KEY)
    file.seek(8 * 1024**2)
    assert file.read(7) == b"8388608"
    assert [asked.get("IfMatch") for asked in answers.asked("s3.GetObject")] == [None, '"e1"']
    return answers


def scene_a_message() -> Answers:
    answers = Answers()
    Messages(answers.clients.sns, SETTINGS.topic_arn).last("done")
    assert answers.asked("sns.Publish") == [
        {"TopicArn": SETTINGS.topic_arn, "Subject": SUBJECT, "Message": "done"}
    ]  # fmt: skip
    assert answers.clients.requests.take() == {"publishes": 1}
    return answers


def scene_a_trainer_is_started() -> Answers:
    answers = Answers()
    start_trainer(answers.clients, "snn-TrainerLambda", "r1")
    (asked,) = answers.asked("lambda.Invoke")
    assert (asked["InvocationType"], json.loads(asked["Payload"])) == ("Event", {"run_id": "r1"})
    return answers


def scene_a_run_is_launched() -> Answers:
    answers = Answers({**Ledgers().answers, "s3.GetObject": objects(), "s3.PutObject": {"VersionId": "v7"}})
    request = {"run_id": "r1", "dataset": KEY, "parameters": json.loads(PARAMETERS.to_json())}
    run = launch(request, SETTINGS, answers.clients)
    assert (run.state, run.checkpoint_version, run.samples) == (State.PENDING, "v7", 24)
    assert [asked["Key"] for asked in answers.asked("s3.PutObject")] == [places.checkpoint("r1")]
    assert len(answers.asked("lambda.Invoke")) == 1
    return answers


def scene_a_run_is_trained() -> Answers:
    ledgers = Ledgers(replace(RUN, promote=True))
    answers = Answers({**ledgers.answers, "s3.GetObject": objects()})
    run = advance("r1", "me", lambda: 900.0, SETTINGS, answers.clients)
    assert (run.state, run.epoch, run.reason) == (State.COMPLETED, 3, "")
    stored = [asked["Key"] for asked in answers.asked("s3.PutObject")]
    assert stored == [
        places.kept_epochs("r1", 0, 3, 1), places.params("r1"), places.results("r1"), places.PROMOTED_RESULTS,
        places.PROMOTED_PARAMS,
    ]  # fmt: skip
    told = [asked["Message"].partition(" = ")[0] for asked in answers.asked("sns.Publish")]
    # Of an epoch if the trainer is slow enough to tell of one before it is done.
    assert told in (
        ["Training completed: cost after epoch 2"],
        ["Cost after epoch 0", "Training completed: cost after epoch 2"],
    )
    return answers


def scene_a_neuron_fails_and_is_asked_again() -> Answers:
    numbers = count()

    def invoke(asked: dict[str, Any]) -> dict[str, Any] | Refused:
        said: Any = [{"errorMessage": "killed"}, {"milliseconds": 3, "memory_mb": 512}][next(numbers)]
        answer = json.dumps(said).encode()
        failed = {} if "errorMessage" in said else {"FunctionError": ABSENT}
        return {"Payload": StreamingBody(BytesIO(answer), len(answer)), **failed}

    answers = Answers({"lambda.Invoke": invoke})
    cache: Any = None  # a neuron's task holds references only
    pool = NeuronPool(answers.clients, SETTINGS, cache, Lesson(PARAMETERS, dataset()).job, "r1", "snn:r1:1")
    task: Any = {"layer": 1, "neurons": (0, 1), "direction": "forward"}
    pool._invoke(Batch(0, slice(None), 1, 1.0, 0, 0), task)
    used = pool.take_usage()["neuron"]
    assert (used.invocations, used.memory_mb) == (2, 512)
    assert used != Usage()
    assert len(answers.asked("lambda.Invoke")) == 2
    return answers
