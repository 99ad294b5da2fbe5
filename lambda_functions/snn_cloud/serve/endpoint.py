"""POST /invocations and GET /ping, as SageMaker's containers answer them: who answers, and what comes of it."""

from __future__ import annotations

import hashlib
import hmac
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from snn.errors import InvalidInput
from snn_cloud.aws.clients import Clients
from snn_cloud.registry.record import DEFAULT_MODEL, Trial, check_model
from snn_cloud.registry.registry import Registry
from snn_cloud.registry.trials import why_withdraw
from snn_cloud.serve.deployed import Deployed
from snn_cloud.serve.failing import is_denied, tell
from snn_cloud.serve.http import Asked, Refused, Reply, Request, read_asked, read_request, reply
from snn_cloud.serve.loaded import Label, Loaded, Prediction
from snn_cloud.serve.meter import Meter

MODEL_HEADER = "x-amzn-sagemaker-target-model"
"""Names another model than the default one, or a version of one: name, name/7 or name/run_id."""

AGREES = 0.05  # numbers of a shadow that differ by less than this part of the champion's agree


@dataclass(frozen=True)
class _Answered:
    """A reply, the version that gave it, to how many samples, and whether a candidate failed meanwhile."""

    reply: Reply
    by: Loaded | None = None
    samples: int = 0
    urgent: bool = False


@dataclass(frozen=True)
class Endpoint:
    """What an environment of PredictLambda has. `key_sha256` is the hash of the key that is asked for; "" asks none."""

    deployed: Deployed
    registry: Registry
    meter: Meter
    key_sha256: str = ""

    @classmethod
    def from_environment(cls, clients: Clients, env: Mapping[str, str] = os.environ) -> Self:
        """Return the endpoint that the template's variables describe; one that it forgot is a KeyError."""
        registry = Registry(clients.dynamodb, env["TABLE"])
        memory = int(env.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0"))
        meter = Meter(registry, env["STACK"], env["ARCHITECTURE"], memory, float(env["DAILY_USD"]))
        return cls(Deployed(clients, env["BUCKET"], registry), registry, meter, env["KEY_SHA256"])

    def answer(self, event: Mapping[str, Any]) -> Reply:
        """Return the reply to a request; what goes wrong here is a 5xx that tells nothing, the log says where it was.

        503 is worth another try: S3 or DynamoDB did not answer.
        """
        began, request_id = time.perf_counter(), ""
        try:
            request = read_request(event)
            request_id = request.request_id
            self._admit(request)
            answered = self._route(request)
        except Refused as refused:
            answered = _Answered(reply(refused.status, {"error": str(refused)}, **refused.headers))
        except Exception as problem:
            tell(problem)
            if isinstance(problem, (BotoCoreError, ClientError)) and not is_denied(problem):
                said = {"error": "a service that the endpoint stands on does not answer; try again"}
                answered = _Answered(reply(503, said, **{"Retry-After": "1"}))
            else:
                answered = _Answered(reply(500, {"error": "the endpoint failed; its log says where"}))
        milliseconds = (time.perf_counter() - began) * 1000
        self._account(milliseconds, answered.urgent)
        label = answered.by.label if answered.by else None
        self.meter.log(label, answered.reply["statusCode"], milliseconds, answered.samples, request_id)
        return answered.reply

    def _account(self, milliseconds: float, urgent: bool) -> None:
        """Take a request into account, refused ones too: they cost. Who asked has an answer, whatever fails here."""
        try:
            for name in self.meter.done(milliseconds, urgent):
                self._look_at_trial(name)
            self.deployed.store_counts(self.registry.table)
        except Exception as problem:
            tell(problem)

    def _admit(self, request: Request) -> None:
        """Raise Refused unless the request may be answered."""
        if self.key_sha256:
            given = request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
            digest = hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()
            if not hmac.compare_digest(digest, self.key_sha256):
                raise Refused(
                    401, "the key is missing or wrong (send it as X-Api-Key)", **{"WWW-Authenticate": "Bearer"}
                )
        if request.path not in ("/ping", "/invocations"):
            raise Refused(404, f"there is nothing at {request.path[:100]} (POST /invocations, GET /ping)")
        wanted = "GET" if request.path == "/ping" else "POST"
        if request.method != wanted:
            raise Refused(405, f"{request.path} takes {wanted}", Allow=wanted)

    def _route(self, request: Request) -> _Answered:
        name, version = _target(request)
        if request.path == "/ping":
            return _Answered(reply(200, {"model": self.deployed.champion(name).label}))
        if self._over_budget():
            wait = {"Retry-After": str(self.meter.seconds_left())}
            raise Refused(429, "today's money for this endpoint is spent", **wait)
        asked = read_asked(request)
        urgent = False
        if version:
            found = self.deployed.version(name, version)
            predictions = self._ask(found, asked)
        else:
            found, predictions, urgent = self._by_trial(name, asked)
        body = {
            "predictions": predictions, "model": found.label, "threshold": found.threshold,
            "classes": list(found.model.classes),
        }  # fmt: skip
        said = reply(200, body, X_Snn_Version=f"{name}/{found.label['version']}")
        return _Answered(said, found, len(predictions), urgent)

    def _over_budget(self) -> bool:
        try:
            return self.meter.over_budget()
        except (BotoCoreError, ClientError) as problem:  # what answers goes on; what it costs is written later
            tell(problem)
            return False

    def _by_trial(self, name: str, asked: Asked) -> tuple[Loaded, list[Prediction], bool]:
        """Return who answered, the answers, and whether a candidate failed."""
        champion, trial = self.deployed.champion(name), self.deployed.trial(name)
        if trial is None or trial["run_id"] == champion.label["run_id"]:
            return champion, self._ask(champion, asked), False
        if trial["kind"] == "canary":
            if random.random() >= trial["share"]:  # noqa: S311 # nosec B311
                return champion, self._ask(champion, asked), False
            candidate, answers, took = self._try(name, trial, asked)
            if candidate is not None and answers is not None:
                self.meter.count(candidate.label, took, len(asked))
                return candidate, answers, False
            # Whoever asked does not suffer from a candidate. If the champion refuses, the request was wrong.
            said = self._ask(champion, asked)
            self.meter.count(_label(name, trial), took, len(asked), error=True)
            return champion, said, True
        said = self._ask(champion, asked)
        if random.random() >= trial["share"]:  # noqa: S311 # nosec B311
            return champion, said, False
        _, answers, took = self._try(name, trial, asked)
        more = {} if answers is None else {"compared": len(said), "disagreed": sum(map(_differ, said, answers))}
        self.meter.count(_label(name, trial), took, len(asked), answers is None, **more)
        return champion, said, answers is None

    def _try(self, name: str, trial: Trial, asked: Asked) -> tuple[Loaded | None, list[Prediction] | None, float]:
        """Ask the candidate; return it, its answers and the milliseconds it took, None for what it failed at.

        Loading it takes no part in these: a champion was loaded before, too.
        """
        try:
            candidate = self.deployed.version(name, trial["run_id"])
        except Refused as refused:
            print(f"the candidate {trial['number']} of {name}: {refused}")
            return None, None, 0.0
        except Exception as problem:
            tell(problem)
            return None, None, 0.0
        began, answers = time.perf_counter(), None
        try:
            answers = candidate.answers(asked)
        except Refused as refused:
            print(f"the candidate {trial['number']} of {name} refuses a request with {refused.status}")
        except Exception as problem:
            tell(problem)
        return candidate, answers, (time.perf_counter() - began) * 1000

    def _ask(self, loaded: Loaded, asked: Asked) -> list[Prediction]:
        """Return a version's answers, counted. Raises Refused, also if it does not work."""
        began = time.perf_counter()
        try:
            answers = loaded.answers(asked)
        except InvalidInput as problem:
            tell(problem)
            self.meter.count(loaded.label, (time.perf_counter() - began) * 1000, len(asked), error=True)
            raise Refused(500, f"the model does not work: {problem}") from None
        self.meter.count(loaded.label, (time.perf_counter() - began) * 1000, len(asked))
        return answers

    def _look_at_trial(self, name: str) -> None:
        """Withdraw the candidate if the rule says so, by what all environments have counted."""
        trial = self.deployed.trial(name)
        if trial is None:
            return
        counted = self.registry.served(name)
        champion = counted.get(self.deployed.champion(name).label["run_id"])
        candidate = counted.get(trial["run_id"])
        reason = why_withdraw(trial, candidate, champion) if candidate else ""
        if reason:
            if self.registry.end_trial(name, trial["id"], "withdrawn", reason):
                print(f"version {trial['number']} of {name} is withdrawn: {reason}")
            self.deployed.forget_trial(name)


def _target(request: Request) -> tuple[str, str]:
    """Return the model and the version that a request names, "" for the champion. Raises Refused."""
    name, _, version = (request.headers.get(MODEL_HEADER) or DEFAULT_MODEL).partition("/")
    try:
        return check_model(name), check_model(version) if version else ""
    except InvalidInput:
        raise Refused(400, f"{MODEL_HEADER} names no model (use name, name/7 or name/run_id)") from None


def _label(name: str, trial: Trial) -> Label:
    return {"name": name, "version": trial["number"], "run_id": trial["run_id"]}


def _differ(one: Prediction, other: Prediction) -> bool:
    if "value" in one and "value" in other:
        return abs(one["value"] - other["value"]) > AGREES * max(abs(one["value"]), 1e-12)
    return one.get("class_name") != other.get("class_name")
