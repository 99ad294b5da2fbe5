# mypy: disable-error-code="import-not-found"
"""Runs the AWS emulator with the few repairs that make it behave like AWS where this project depends on it.

The emulator's own interpreter runs this file, so it imports the standard library and ministack only. Each repair names
what is wrong without it. ministack is pinned by hash, so the private names used here cannot move unnoticed
(it is not in the project's own environment, hence the line for mypy above).
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import queue
import shutil
import sys
import sysconfig
import tempfile
import threading
import time
import uuid
import zipfile
from pathlib import Path
from typing import Any

import ministack.core.iam_actions as iam_actions
import ministack.core.lambda_runtime as runtime
import ministack.services.cloudformation.changesets as changesets
import ministack.services.cloudformation.provisioners as provisioners
import ministack.services.cloudformation.stacks as stacks
import ministack.services.cloudwatch_logs as logs
import ministack.services.dynamodb_streams as table_streams
import ministack.services.lambda_svc as lambdas
import ministack.services.s3 as s3
from ministack.app import main
from ministack.services.cloudformation import _ACTION_HANDLERS, _change_sets, _stack_events, _stacks
from ministack.services.cloudformation.engine import _evaluate_conditions, _resolve_refs


def replace(owner: Any, name: str, new: Any) -> None:
    """Set an attribute that is there: under a name that has moved, a repair would do nothing, silently."""
    if not hasattr(owner, name):
        raise RuntimeError(f"the emulator has no {owner.__name__}.{name} any more")
    setattr(owner, name, new)


def keep_attributes_of_nested_stacks() -> None:
    """Let a nested stack be updated: without its old attributes the update fails with 'Arn does not exist'."""
    original = provisioners._update_resource

    def update(
        kind: str,
        physical_id: str,
        old: dict[str, Any],
        new: dict[str, Any],
        stack: str,
        logical_id: str | None = None,
        attributes: dict[str, Any] | None = None,
    ) -> Any:
        if attributes is None:
            resources = (_stacks.get(stack) or {}).get("_resources") or {}
            attributes = (resources.get(logical_id) or {}).get("Attributes")
        return original(kind, physical_id, old, new, stack, logical_id, attributes)

    replace(provisioners, "_update_resource", update)


def queue_throttled_events() -> None:
    """Make a throttled asynchronous event wait, as AWS does for hours, instead of being lost after two retries.

    Synchronous callers (they run in the thread named below) still get the throttle at once.
    """
    original = lambdas._execute_function

    def execute(function: dict[str, Any], event: Any) -> dict[str, Any]:
        result: dict[str, Any] = original(function, event)
        pause = 0.02
        while result.get("throttle") and threading.current_thread().name != "ministack-lambda-invoke":
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)
            # What was handed over is a copy: the limit may have been raised, or lifted, since.
            name = (function.get("config") or function)["FunctionName"]
            limit = (lambdas._functions.get(name) or function).get("concurrency")
            result = original({**function, "concurrency": limit}, event)
        return result

    replace(lambdas, "_execute_function", execute)


def keep_what_cannot_be_deleted() -> None:
    """Refuse to delete a bucket that holds anything, and fail with a nested stack that cannot be deleted whole.

    Otherwise a full bucket goes, its old versions wait for the next bucket of the name, and nobody hears of a failure.
    """
    handlers, original = provisioners._RESOURCE_HANDLERS, provisioners._delete_resource
    nested = handlers["AWS::CloudFormation::Stack"]
    delete_nested, this_thread = nested["delete"], threading.local()

    def delete_bucket(name: str, properties: dict[str, Any]) -> None:
        if s3._delete_bucket(name)[0] == 409:
            raise ValueError("The bucket you tried to delete is not empty. You must delete all versions in the bucket.")

    def delete_resource(
        kind: str, physical_id: str, properties: dict[str, Any], stack: str | None = None, logical_id: str | None = None
    ) -> None:
        try:
            original(kind, physical_id, properties, stack, logical_id)
        except Exception as error:
            getattr(this_thread, "failed", {})[logical_id] = str(error)
            raise

    def delete_stack(physical_id: str, properties: dict[str, Any]) -> None:
        stack = _stacks.get(provisioners._nested_stack_lookup_name(physical_id)) or {}
        resources, this_thread.failed = dict(stack.get("_resources") or {}), {}
        delete_nested(physical_id, properties)
        if not this_thread.failed:
            return
        kept = {name: resources[name] for name in this_thread.failed}
        stack.update(StackStatus="DELETE_FAILED", _resources=kept)

        def tell(name: str, kind: str, status: str, reason: str, what: str) -> None:
            stacks._add_event(stack["StackId"], stack["StackName"], name, kind, status, reason, what)

        tell(stack["StackName"], "AWS::CloudFormation::Stack", "DELETE_IN_PROGRESS", "", stack["StackId"])
        for name, reason in this_thread.failed.items():
            tell(name, kept[name]["ResourceType"], "DELETE_FAILED", reason, kept[name]["PhysicalResourceId"])
        raise ValueError(f"Embedded stack {physical_id} was not successfully deleted: {', '.join(kept)}")

    replace(provisioners, "_delete_resource", delete_resource)
    handlers["AWS::S3::Bucket"]["delete"], nested["delete"] = delete_bucket, delete_stack


def look_into_nested_stacks() -> None:
    """Make change sets with those of nested stacks, if they are asked for, and without what a condition leaves out.

    And beside one that waits for the same new stack already.
    """
    create, describe = _ACTION_HANDLERS["CreateChangeSet"], _ACTION_HANDLERS["DescribeChangeSet"]
    delete, resolve = _ACTION_HANDLERS["DeleteChangeSet"], changesets._resolve_props_for_diff

    def resolved(template: dict[str, Any], parameters: dict[str, Any], *stack: str) -> dict[str, Any]:
        resources = resolve(template, parameters, *stack).get("Resources", {})
        holds = _evaluate_conditions(template, parameters) if template else {}
        return {"Resources": {key: item for key, item in resources.items() if holds.get(item.get("Condition"), True)}}

    def create_nested(outer: dict[str, Any], change: dict[str, Any], agreed: dict[str, Any]) -> Any:
        stack, name = _stacks[outer["StackName"]], change["LogicalResourceId"]
        template, known = outer["_template"], outer["_resolved_params"]
        properties = template["Resources"][name]["Properties"]

        def value(node: Any) -> str:
            try:
                return str(
                    _resolve_refs(
                        copy.deepcopy(node), stack["_resources"], known, _evaluate_conditions(template, known),
                        template.get("Mappings", {}), stack["StackName"], stack["StackId"],
                    )
                )  # fmt: skip
            except Exception:
                return "{{changeSet:KNOWN_AFTER_APPLY}}"

        adds = change["Action"] == "Add"
        inner = f"{stack['StackName']}-{name}" if adds else change["PhysicalResourceId"]
        request = {
            "StackName": inner, "ChangeSetName": f"{outer['ChangeSetName']}-{name}",
            "ChangeSetType": "CREATE" if adds else "UPDATE", "TemplateURL": value(properties["TemplateURL"]),
        }  # fmt: skip
        for place, (key, node) in enumerate(properties.get("Parameters", {}).items(), start=1):
            request[f"Parameters.member.{place}.ParameterKey"] = key
            request[f"Parameters.member.{place}.ParameterValue"] = value(node)
        answer = create({**agreed, **{key: [text] for key, text in request.items()}})
        if adds and (waits := _stacks.pop(inner, None)):  # the stack gets another name when it is made
            _stack_events.pop(waits["StackId"], None)
        return answer

    def create_beside(parameters: dict[str, Any]) -> Any:
        waits = _stacks.get(parameters["StackName"][0])
        status, headers, body = create(parameters)
        if waits and waits["StackStatus"] == "REVIEW_IN_PROGRESS":  # the same stack, where the emulator makes another
            _stacks[waits["StackName"]] = waits
            made = changesets._find_change_set(parameters["ChangeSetName"][0], waits["StackName"])[1]
            if status == 200 and made["StackId"] != waits["StackId"]:
                _stack_events.pop(made["StackId"], None)
                body = body.replace(made["StackId"].encode(), waits["StackId"].encode())
                made["StackId"] = waits["StackId"]
        return status, headers, body

    def create_all(parameters: dict[str, Any]) -> Any:
        answer = create_beside(parameters)
        if answer[0] != 200 or parameters.get("IncludeNestedStacks") != ["true"]:
            return answer
        agreed = {key: given for key, given in parameters.items() if key.startswith("Capabilities.")}
        outer_id, outer = changesets._find_change_set(parameters["ChangeSetName"][0], parameters["StackName"][0])
        for change in (item["ResourceChange"] for item in outer["Changes"]):
            if change["ResourceType"] == "AWS::CloudFormation::Stack" and change["Action"] != "Remove":
                made = create_nested(outer, change, agreed)
                if made[0] != 200:
                    reason = f"Nested change set {change['LogicalResourceId']} was not created: {made[2].decode()}"
                    outer.update(Status="FAILED", ExecutionStatus="UNAVAILABLE", StatusReason=reason, Changes=[])
                    break
                change["ChangeSetId"] = next(reversed(list(_change_sets)))
                _change_sets[change["ChangeSetId"]]["_outer"] = outer_id
        return answer

    def describe_all(parameters: dict[str, Any]) -> Any:
        status, headers, body = describe(parameters)
        found = changesets._find_change_set(parameters["ChangeSetName"][0])[1] or {"Changes": []}
        for change in (item["ResourceChange"] for item in found["Changes"] if "ChangeSetId" in item["ResourceChange"]):
            name = f"<LogicalResourceId>{change['LogicalResourceId']}</LogicalResourceId>".encode()
            body = body.replace(name, name + f"<ChangeSetId>{change['ChangeSetId']}</ChangeSetId>".encode())
        return status, headers, body

    def delete_all(parameters: dict[str, Any]) -> Any:
        answer = delete(parameters)
        for key in [key for key, item in _change_sets.items() if item.get("_outer", key) not in _change_sets]:
            _change_sets.pop(key)
        return answer

    replace(changesets, "_resolve_props_for_diff", resolved)
    _ACTION_HANDLERS.update(CreateChangeSet=create_all, DescribeChangeSet=describe_all, DeleteChangeSet=delete_all)


def outdate_change_sets() -> None:
    """Let an update of a stack make the change sets that wait for it obsolete; they could be executed all the same."""
    original = _ACTION_HANDLERS["UpdateStack"]

    def update(parameters: dict[str, Any]) -> Any:
        answer = original(parameters)
        for item in _change_sets.values() if answer[0] == 200 else ():
            if item["StackName"] == parameters["StackName"][0] and item["ExecutionStatus"] == "AVAILABLE":
                item["ExecutionStatus"] = "OBSOLETE"
        return answer

    _ACTION_HANDLERS["UpdateStack"] = update


def tag_buckets() -> None:
    """Give a stack's buckets their tags, CloudFormation's own among them."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]
    create = handlers["create"]

    def tagged(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
        created: tuple[str, dict[str, Any]] = create(logical_id, properties, stack)
        s3._bucket_tags[created[0]] = provisioners._tag_map(properties.get("Tags"))
        return created

    provisioners._STACK_TAG_PROPERTY["AWS::S3::Bucket"] = ("Tags", "list")
    handlers["create"] = tagged


def forget_the_logs_of_deleted_functions() -> None:
    """Let a function that ends later than its stack not make its log group anew; the functions' roles may not."""
    original = lambdas._emit_lambda_logs

    def emit(function: dict[str, Any], *arguments: Any, **named: Any) -> None:
        name = (function.get("config") or function).get("FunctionName")
        if name in lambdas._functions or f"/aws/lambda/{name}" in logs._log_groups:
            original(function, *arguments, **named)

    replace(lambdas, "_emit_lambda_logs", emit)


def honour_limits_in_templates() -> None:
    """Apply ReservedConcurrentExecutions and RecursiveLoop of AWS::Lambda::Function, which are otherwise ignored."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]

    def apply(created: tuple[str, dict[str, Any]], properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        function = lambdas._functions[created[0]]
        reserved = properties.get("ReservedConcurrentExecutions")
        function["concurrency"] = None if reserved is None else int(reserved)
        function["recursive_loop"] = properties.get("RecursiveLoop") or "Terminate"
        return created

    create, update = handlers["create"], handlers["update"]
    handlers["create"] = lambda logical, new, stack: apply(create(logical, new, stack), new)
    handlers["update"] = lambda physical, old, new, stack, logical=None: apply(
        update(physical, old, new, stack, logical), new
    )


def name_log_events() -> None:
    """Give the lines that functions print their event ids, without which nobody can tell two equal lines apart."""
    original = logs._append_log_events

    def append(stream: dict[str, Any], events: list[dict[str, Any]]) -> None:
        for event in events:
            event.setdefault("eventId", uuid.uuid4().hex)
        original(stream, events)

    replace(logs, "_append_log_events", append)


def ask_about_log_streams() -> None:
    """Ask a policy about the log stream that a call names, as AWS does, and not about its group.

    Otherwise nobody may write to a stream whose policy says "group:*", as CloudFormation names a log group.
    """
    original = iam_actions.extract_resource_arn

    def extract(service: str, method: str, path: str, headers: dict[str, str], body: bytes, *rest: Any) -> str:
        resource: str = original(service, method, path, headers, body, *rest)
        stream = iam_actions._safe_json_field(body, "logStreamName") if service == "logs" else ""
        return f"{resource}:log-stream:{stream}" if stream else resource

    replace(iam_actions, "extract_resource_arn", extract)


def ask_about_table_streams() -> None:
    """Ask a policy about the stream of a table that a call reads, as AWS does; it asked about "*"."""
    original = iam_actions.extract_resource_arn

    def extract(service: str, method: str, path: str, headers: dict[str, str], body: bytes, *rest: Any) -> str:
        stream: str = ""
        if service in ("dynamodb", "dynamodbstreams") and b'"ShardIterator"' in body:
            asked = table_streams._decode_iterator(iam_actions._safe_json_field(body, "ShardIterator")) or {}
            stream = str(asked.get("arn") or asked.get("stream_arn") or "")
        elif service in ("dynamodb", "dynamodbstreams") and b'"StreamArn"' in body:
            stream = iam_actions._safe_json_field(body, "StreamArn")
        return stream or str(original(service, method, path, headers, body, *rest))

    replace(iam_actions, "extract_resource_arn", extract)


def tell_the_source_of_events() -> None:
    """Give policies the condition key events:source, without which nobody may put events whose policy names one."""
    original = iam_actions.request_tag_context

    def context(service: str, action: str, body: bytes, *rest: Any) -> dict[str, Any]:
        found: dict[str, Any] = original(service, action, body, *rest)
        if action == "events:PutEvents":
            sources = {entry.get("Source", "") for entry in json.loads(body).get("Entries", [])}
            found = {**found, "events:source": sources.pop() if len(sources) == 1 else ""}
        return found

    replace(iam_actions, "request_tag_context", context)


def give_way() -> None:
    """Run Lambda functions at a lower priority: in truth they work elsewhere and take no processor from Airflow."""
    original = runtime.Worker._spawn

    def spawn(worker: Any) -> None:
        original(worker)
        os.setpriority(os.PRIO_PROCESS, worker._proc.pid, 10)

    replace(runtime.Worker, "_spawn", spawn)


def wait_for_what_was_printed() -> None:
    """Put all that a function printed into the log of its invocation; a last line that was late went into the next's.

    The emulator waits until nothing was printed for 5 ms, or 50. Now the worker says itself when it is done.
    """
    done, answers = f"done {uuid.uuid4()}", "        _real_stdout.flush()\n\nrun()\n"
    says_so = f"        print({done!r}, flush=True)\n{answers}"
    script = runtime._PYTHON_WORKER_SCRIPT
    if script.count(answers) != 1:
        raise RuntimeError("the emulator's worker ends otherwise than this repair knows")
    runtime._PYTHON_WORKER_SCRIPT = script.replace(answers, says_so)

    def drain(worker: Any, **_: float) -> str:
        lines, deadline = [], time.monotonic() + 10
        while True:
            reads = worker._stderr_thread.is_alive()
            try:
                line: str = worker._stderr_queue.get(timeout=0.05)
            except queue.Empty:
                if reads and time.monotonic() < deadline:
                    continue
                break  # the process has died, and nothing is left; or nothing comes any more
            deadline = time.monotonic() + 10
            if line.endswith(done):
                if line != done:  # after something without a line's end
                    lines.append(line.removesuffix(done))
                break
            lines.append(line)
        return "\n".join(lines)

    replace(runtime.Worker, "_drain_stderr_bounded", drain)


def spare_the_others() -> None:
    """Let a worker that dies while it starts take no other with it; all of its function's were ended, runs and all."""
    original = lambdas.invalidate_worker

    def invalidate(name: str, *arguments: Any, **named: Any) -> None:
        trace = sys.exc_info()[2]
        worker = trace.tb_frame.f_locals.get("worker") if trace else None
        if worker is None:  # the function itself has changed
            original(name, *arguments, **named)
            return
        with runtime._lock:
            for pool in runtime._workers.values():
                pool[:] = [each for each in pool if each is not worker]
        runtime.kill_workers([worker])

    replace(lambdas, "invalidate_worker", invalidate)


def extract_layers_once(folder: Path) -> None:
    """Unpack each layer once per content under `folder`, not once per worker: a cold start takes 0.3 s, not seconds.

    A worker gets a tiny zip whose one .pth file puts the unpacked layer first on the path, as Lambda does. It also
    takes the emulator's own packages off the path, or a package missing from the layer would be found there.
    The 250 MB limit goes on counting the real layer.
    """
    original = lambdas._resolve_layer_zip
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = f"python/lib/{version}/site-packages"
    emulator_packages = sysconfig.get_paths()["purelib"]
    # Keyed by identity, because hashing tens of megabytes for each worker is slow; the value keeps the key's object
    # alive, so the identity cannot be given to another.
    known: dict[int, tuple[bytes, bytes]] = {}

    def thin(layer: Any) -> bytes | None:
        content: bytes | None = original(layer)
        if not content:
            return content
        if id(content) not in known:
            root = _extracted(content, folder)
            paths = [str(path) for path in (root / site, root / "python") if path.is_dir()]
            line = (
                f"import sys; sys.path[:] = {paths!r} + [path for path in sys.path if path != {emulator_packages!r}]\n"
            )
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as archive:
                archive.writestr(f"{site}/snn-layer.pth", line)
            known[id(content)] = (content, buffer.getvalue())
        return known[id(content)][1]

    replace(lambdas, "_resolve_layer_zip", thin)
    replace(lambdas, "_layer_unzipped_size", lambda layer: lambdas._unzipped_size(original(layer)))


def _extracted(content: bytes, folder: Path) -> Path:
    """Return the folder that holds the unpacked layer.

    Workers start at the same time: each unpacks to a place of its own, the first to finish renames it.
    """
    target = folder / hashlib.sha256(content).hexdigest()[:16]
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder))
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(partial)
        try:
            partial.rename(target)
        except OSError:
            shutil.rmtree(partial)
            if not target.exists():
                raise
    return target


if __name__ == "__main__":
    layers = Path(sys.argv.pop(1))
    keep_attributes_of_nested_stacks()
    keep_what_cannot_be_deleted()
    look_into_nested_stacks()
    outdate_change_sets()
    tag_buckets()
    forget_the_logs_of_deleted_functions()
    queue_throttled_events()
    honour_limits_in_templates()
    name_log_events()
    ask_about_log_streams()
    ask_about_table_streams()
    tell_the_source_of_events()
    give_way()
    wait_for_what_was_printed()
    spare_the_others()
    extract_layers_once(layers)
    main()
