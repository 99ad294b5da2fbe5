"""The process that computes what the microscope shows, so that the server that answers people never does.

It reads requests from its standard input, a line of JSON each, and answers each by one line. It ends when nobody has
asked for some minutes, and with the server that started it.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import select
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable
from io import BytesIO
from typing import Any, TextIO, TypedDict

from snn.errors import InvalidInput, SnnError, one_line
from snn_client.look.stacks import Reach, Reached
from snn_client.microscope.photo import way_of_photo
from snn_client.microscope.scope import Scope
from snn_client.models.champion import find_champion
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.passing import AWS_ERRORS, reason
from snn_cloud.ledger.ledger import Ledger
from snn_data.model import load_model

IDLE_SECONDS = 300.0
SCOPES = 2  # runs that are held with their data
STACKS = 8  # whose clients are
COMPUTING_SECONDS = 45.0  # for which an epoch is computed again
MOST_MEMORY = 4 * 2**30


class Request(TypedDict):
    """What is asked: of which stack and run ("" if of none), what, and with which arguments."""

    reach: dict[str, Any]
    run_id: str
    ask: str
    arguments: dict[str, Any]


class Answer(TypedDict, total=False):
    """What came of it: `result`, or one line that says what is wrong and whether the asker is (`refused`)."""

    result: Any
    error: str
    refused: bool


class Worker:
    """Answers requests, one after the other; holds the runs that were looked at last."""

    def __init__(self) -> None:
        self._scopes: OrderedDict[tuple[str, str, float], Scope] = OrderedDict()
        self._reached: list[Reached] = []
        self._deadline = 0.0

    def answer(self, request: Request) -> Answer:
        """Return what a request asks for."""
        try:
            return {"result": self._result(request)}
        except InvalidInput as error:
            return {"error": str(error), "refused": True}
        except SnnError as error:
            return {"error": str(error), "refused": False}
        except AWS_ERRORS as error:
            return {"error": f"AWS: {reason(error)}", "refused": False}
        except MemoryError:
            return {"error": "this needs more memory than the page may use: look at fewer neurons", "refused": False}

    def _result(self, request: Request) -> Any:
        self._deadline = time.monotonic() + COMPUTING_SECONDS
        reach = Reach.from_json(request["reach"])
        clients, outputs = self._clients_of(reach), StackOutputs.from_dict(reach.outputs)
        given = request["arguments"]
        if request["ask"] == "champion":
            return self._champion(clients, outputs, given)
        scope = self._scope(clients, outputs, request["run_id"])
        asked: dict[str, Callable[..., Any]] = {
            "about": scope.about, "network": scope.network, "neuron": scope.neuron, "bars": scope.bars,
            "way": scope.way, "invocations": scope.invocations, "invocation_log": scope.invocation_log,
        }  # fmt: skip
        pictures: dict[str, Callable[..., bytes]] = {"weights": scope.weights_png, "picture": scope.picture}
        if request["ask"] in pictures:
            return base64.b64encode(pictures[request["ask"]](**given)).decode()
        if request["ask"] == "photo":
            return scope.photo(given["epoch"], base64.b64decode(given["content"]), given["name"])
        return asked[request["ask"]](**given)

    def _clients_of(self, reach: Reach) -> Clients:
        """Return a stack's clients, the same ones as before: to make them takes a tenth of a second."""
        found = next((one for one in self._reached if one.reach.at_same_place(reach)), None)
        if found is None:
            found = Reached(reach)
            self._reached = [*self._reached[-STACKS:], found]
        found.renew(reach.keys)
        return found.clients

    def _scope(self, clients: Clients, outputs: StackOutputs, run_id: str) -> Scope:
        run = Ledger(clients.dynamodb, outputs.table).get(run_id)
        key = (outputs.bucket, run_id, run.created_at)
        if key not in self._scopes:
            while len(self._scopes) >= SCOPES:
                self._scopes.popitem(last=False)
            self._scopes[key] = Scope(clients, outputs, run, lambda: time.monotonic() > self._deadline)
        self._scopes.move_to_end(key)
        self._scopes[key].follow(run)
        return self._scopes[key]

    def _champion(self, clients: Clients, outputs: StackOutputs, given: dict[str, Any]) -> Any:
        champion = find_champion(clients, outputs.bucket)
        if champion is None:
            raise InvalidInput(f"the stack {outputs.stack_name} has no champion yet", hint="promote a run")
        model = load_model(BytesIO(champion.content), source="the champion")
        way = way_of_photo(clients, outputs, model, base64.b64decode(given["content"]), given["name"])
        return {"run_id": champion.run_id, "way": way}


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer until nobody asks any more."""
    worker = Worker()
    while select.select([requests], [], [], IDLE_SECONDS)[0]:
        line = requests.readline()
        if not line:
            return
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:  # a fault of ours: told, and shown in the server's log
            traceback.print_exc()
            answer = {"error": one_line(f"{type(error).__name__}: {error}"), "refused": False}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    """Serve by the standard streams; whatever else prints goes to the server's log."""
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
