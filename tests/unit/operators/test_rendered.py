"""Every templated field of every operator, in every form that a value may arrive in, rendered by Airflow itself."""

from __future__ import annotations

import copy
import importlib
import inspect
import json
import logging
import pkgutil
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, NoReturn

import pytest
from airflow.sdk import DAG, literal
from airflow.sdk.bases.operator import ExecutorSafeguard

import snn_operators
from snn_operators import fields
from snn_operators.base import SnnOperator
from snn_operators.compat import AirflowFailException, AirflowSkipException
from snn_operators.fields import Kind, TemplatedFields
from snn_operators.stage import SnnStageOperator

for module in pkgutil.iter_modules(snn_operators.__path__):
    if module.name != "lineage":  # which needs a provider that few have
        importlib.import_module(f"snn_operators.{module.name}")


def all_below(of: type[Any]) -> Iterator[type[Any]]:
    for each in of.__subclasses__():
        yield each
        yield from all_below(each)


TASKS = sorted(
    {each for each in all_below(TemplatedFields) if "execute" in each.__dict__ and each.__module__.startswith("snn_")},
    key=lambda each: each.__name__,
)
OUTPUTS = {"stack_name": "snn", "bucket": "b", "table": "t", "has_cache": True, "region": "eu-west-3", "notebook": "n"}
RECORD = {"a": None, "b": True, "c": [1, 2.5], "d": 'it\'s "x" ü', "e": {"f": "x"}}
ANSWER = {"uri": "s3://b/1.png", "predicted": 1, "class_name": "cat", "probability": 0.9}
SHORTENED = {"head": [{"uri": "it's"}], "count": 800, "whole": "s3://b/images.json"}
HASH = "9e107d9d372bb6826bd81d3542a419d6"
DIGITS = "12345678901234567890123456789012"
NAMES = ["runs/x y/d.h5", "20261129", "2026-11-29", "it's", "naïve", "C:\\data", 'a "b" c']


class Cases(NamedTuple):
    """Values for a kind of field: those that mean themselves, those with what they mean, and wrong ones."""

    same: list[Any]
    meant: list[tuple[Any, Any]]
    wrong: list[Any]


CASES = {
    fields.NAME: Cases(NAMES, [(20261129, "20261129"), (date(2026, 11, 29), "2026-11-29")], [RECORD, [1], True, {}]),
    fields.FLAG: Cases([True, False], [(1, True), (0, False)], ["perhaps", 2, 0.5, [True], RECORD, "yes please"]),
    fields.VERIFY: Cases([True, False, "/etc/ca.pem", "my ca.pem"], [], [[1], RECORD]),
    fields.NUMBER: Cases([0.2, 5, 0, 1e-9, -1, 10**20], [], [True, "abc", [1], RECORD, "1/2", 10**400]),
    fields.MAPPING: Cases([RECORD, {"epochs": 5}, {}], [], ["text", 5, 0.5, [1], True, [["a", 1]]]),
    fields.VALUES: Cases(
        [{"epochs": 7, "seed": None, "strategy": "average", "optimizer": {"name": "adam"}, "on": True}, {}],
        [
            ({"epochs": "7", "seed": "None", "dtype": "", "rate": "2.5e-3"}, {"epochs": 7, "seed": None, "dtype": None,
             "rate": 0.0025}),
            ({"optimizer": "{'name': 'adam', 'beta': None}"}, {"optimizer": {"name": "adam", "beta": None}}),
            ({"on": "True", "off": "false", "name": "best-batch"}, {"on": True, "off": False, "name": "best-batch"}),
        ],
        ["text", 5, [1], True],
    ),
    fields.DOCUMENT: Cases([RECORD, {"epochs": 5}, "p.json", "s3://b/p.json", "it's/p.json"], [], [[1], True]),
    fields.COMBINATIONS: Cases(
        [{"learning_rate": [0.1, 0.2], "layer_sizes": [[20, 1], [1]]}, [{"seed": 1}, {"seed": None}], {}],
        [],
        [5, "many", True, [1], ["seed"]],
    ),
    fields.PATHS: Cases(
        [["a.png", "it's b.png"], ["[1].png"], []],
        [("cat.png", ["cat.png"]), ("s3://b/k.png", ["s3://b/k.png"]), ([5, "x"], ["5", "x"]), (5, ["5"])],
        [True, [True], [[1]], [RECORD], RECORD],
    ),
    fields.PHOTOS: Cases(
        [[{"uri": "s3://b/1", "name": "it's"}], ["a.png", {"uri": "u"}], []],
        [("cat.png", ["cat.png"]), ({"uri": "u", "name": "n"}, [{"uri": "u", "name": "n"}]), (SHORTENED, [SHORTENED])],
        [True, [[1]], [{"name": "x"}], {"head": [], "count": 800}, {"whole": [1]}, RECORD],
    ),
    fields.ANSWERS: Cases(
        [[ANSWER, ANSWER], []], [(ANSWER, [ANSWER]), (SHORTENED, [SHORTENED])], ["text", 5, ["x"], [1], True]
    ),
    fields.SWEEP: Cases([{"sweep_id": "s", "runs": 2, "best": None}], [], [{}, {"runs": 1}, "s", 5, [1], True]),
    fields.DECISION: Cases(
        [{"promote": True, "reason": "it's better"}, {"promote": False, "margin": None}, {"promote": True}],
        [({"promote": "False", "reason": "x"}, {"promote": False, "reason": "x"})],
        [{}, {"reason": "x"}, {"promote": "perhaps"}, True, "yes", [1], 5],
    ),
    fields.STACK: Cases(["snn", "my-snn-2", OUTPUTS, {"stack_name": "snn"}], [], [{"bucket": "b"}, {}, [1], True]),
    fields.ETAG: Cases(
        [HASH, "", DIGITS], [(f'"{HASH}"', HASH), (f'"{DIGITS}"', DIGITS), (12, "12")], [RECORD, [1], True]
    ),
    fields.TIME: Cases(
        [datetime(2026, 11, 29, 3, tzinfo=UTC)],
        [
            ("2026-11-29", datetime(2026, 11, 29, tzinfo=UTC)),
            ("20261129", datetime(2026, 11, 29, tzinfo=UTC)),
            (20261129, datetime(2026, 11, 29, tzinfo=UTC)),
            (date(2026, 11, 29), datetime(2026, 11, 29, tzinfo=UTC)),
            (datetime(2026, 11, 29, 3), datetime(2026, 11, 29, 3, tzinfo=UTC)),
            ("2026-11-29T03:00:00+00:00", datetime(2026, 11, 29, 3, tzinfo=UTC)),
        ],
        ["yesterday", 5, 1795910400, [1], True, RECORD],
    ),
}  # fmt: skip
READERS = {kind.read: cases for kind, cases in CASES.items()}
EMPTY = [
    "",
    " ",
    "None",
    "null",
    None,
    literal(None),
    "{{ none }}",
    "{{ '' }}",
    "{{ params.none }}",
    "{{ params.empty }}",
]
GIVEN = {
    "dataset": "d.h5", "parameters": {}, "run_id": "r", "dataset_key": "k", "images": [], "test_set": {"accuracy": 1.0},
    "combinations": {"seed": [1]}, "sweep": {"sweep_id": "s"}, "train": "t", "evaluate": "e", "rung": 2,
    "sweep_id": "s", "uploaded_after": None, "source": "photos",
}  # fmt: skip
ARGUMENTS = {"only_list": "dry_run"}  # of fields that are called otherwise


def called(field: str) -> str:
    """Return what a field is called where it is given."""
    return ARGUMENTS.get(field, field)


def forms(value: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield a value in each form that it may have in a DAG file, with the params that its template is rendered with."""
    template = "{{ params.v }}"
    yield value, {}
    yield literal(value), {}
    yield template, {"v": value}
    if isinstance(value, date):
        return
    yield "{{ params.v | tojson }}", {"v": value}
    for text in {json.dumps(value), json.dumps(value, ensure_ascii=False), repr(value)}:
        yield literal(text), {}
        yield template, {"v": text}
    if not isinstance(value, str):
        yield f"  {template} ", {"v": value}
        yield json.dumps(value, indent=2), {}
        yield repr(value), {}


class Reached(Exception):
    """A task has read its fields and turns to AWS."""


class NoHook:
    def __getattr__(self, name: str) -> NoReturn:
        raise Reached


def context(params: dict[str, Any]) -> dict[str, Any]:
    ti = SimpleNamespace(dag_id="d", task_id="t", map_index=-1, try_number=1)
    return {"params": {"none": None, "empty": "", **params}, "ti": ti, "run_id": "manual"}


def made(task: type[Any], native: bool, **given: Any) -> Any:
    required = {name: value for name, value in GIVEN.items() if name in inspect.signature(task).parameters}
    arguments = {called(name): value for name, value in {**required, **given}.items()}
    return task(task_id="t", dag=DAG("d", render_template_as_native_obj=native), **arguments)


def executed(task: Any, params: dict[str, Any]) -> str:
    """Render a task and execute it, until it turns to AWS; return with which words it failed before, if it did."""
    task.__dict__["hook"] = NoHook()
    task.render_template_fields(context(params))
    try:
        task.execute(context(params))
    except AirflowFailException as error:
        return str(error)
    except (Reached, AirflowSkipException):
        return ""
    raise AssertionError("it has done all its work without AWS")


def asked(native: bool, task: Any, field: str, form: Any, params: dict[str, Any]) -> tuple[Any, str]:
    """Return what a field holds that is given in a form, and the error that is about this field."""
    one = copy.copy(task)
    for other in task.template_fields:
        setattr(one, other, literal(getattr(task, other)))  # no template, which takes its time
    setattr(one, field, form)
    words = executed(one, params)
    return getattr(one, field), words if words.endswith(f"({task.kinds[field].hint})") else ""


FIELDS = [
    pytest.param(task, field, native, id=f"{task.__name__}-{field}-{'native' if native else 'plain'}")
    for task in TASKS
    for field in task.template_fields
    for native in (True, False)
]
COUNTED: list[int] = []


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have nothing written about thousands of tasks."""
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)  # else each is told that no task runner calls it
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


def exactly(value: Any) -> str:
    """Return a value as text in which 1 is not true, whatever the order of keys."""
    return json.dumps(value, sort_keys=True, default=repr)


@pytest.mark.parametrize(("task", "field", "native"), FIELDS)
def test_every_form_of_a_value_is_read_to_the_same(task: type[Any], field: str, native: bool) -> None:
    kind: Kind = task.kinds[field]
    cases, base, bad, count = READERS[kind.read], made(task, native), [], 0
    for value, meant in [*((value, value) for value in cases.same), *cases.meant]:
        for form, params in forms(value):
            held, words = asked(native, base, field, form, params)
            again = kind(field, held)
            count += 1
            if words or not exactly(held) == exactly(again) == exactly(meant):
                bad.append((form, params, held, words))
    for value in cases.wrong:
        for form, params in forms(value):
            _, words = asked(native, base, field, form, params)
            count += 1
            if (
                not re.match(rf"{called(field)}: .+ is of type \w+, expected {re.escape(kind.wanted)}", words)
                or "\n" in words
            ):
                bad.append((form, params, "wrong", words))
    for form in EMPTY:
        held, words = asked(native, base, field, form, {})
        count += 1
        if kind.read is fields.ETAG.read and form in ("", " ", "{{ '' }}", "{{ params.empty }}"):
            right = held.strip() == "" and not words
        elif kind.default is fields.NAME.default:  # there is none
            right = words.startswith(f"{called(field)}: is missing: its value is ")
        else:
            right = held == kind.default and not words
        if not right:
            bad.append((form, {}, held, words))
    assert bad == []
    COUNTED.append(count)


def test_that_was_every_field_of_every_operator() -> None:
    assert len(TASKS) == 19
    if len(COUNTED) == len(FIELDS):  # else only some of them were asked for
        assert sum(COUNTED) > 9_108


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("task", TASKS)
def test_while_a_dag_is_parsed_nothing_is_asked_of_a_template(task: type[Any], native: bool) -> None:
    given = dict.fromkeys(task.template_fields, "{{ params.v }}")
    one = made(task, native, **given)
    assert {field: getattr(one, field) for field in given} == given


@pytest.mark.parametrize("task", TASKS)
def test_what_is_templated_is_documented_as_that(task: type[Any]) -> None:
    described = f"{task.__doc__}\n{SnnOperator.__doc__}"
    marked = {
        name for name, text in re.findall(r":param (\w+):(.*?)(?=\n\s*:|\n\s*\n|$)", described, re.S)
        if "(templated" in text
    }  # fmt: skip
    assert {called(field) for field in task.template_fields} == marked


def test_a_number_with_a_point_is_no_name_but_its_text_is() -> None:
    stage = made(SnnStageOperator, native=True)
    for form in (1.5, "{{ 1.5 }}", "{{ '12e4' }}"):
        _, words = asked(True, stage, "run_id", form, {})
        assert re.match(r"run_id: [\d.]+ is of type float, expected a text: what it was before .* is lost \(", words)
    plain = made(SnnStageOperator, native=False)
    assert asked(False, plain, "run_id", "{{ '12e4' }}", {}) == ("12e4", "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"epochs": 5,}x', "it is not JSON: "),
        ('{"epochs": 5, "epochs": 6}', "epochs stands twice"),
        ("{'epochs': nan}", "it is not JSON: "),
        ('{"a": ' * 100_000, "it is not JSON: "),
    ],
)
def test_text_that_is_no_mapping_says_why(text: str, problem: str) -> None:
    for field in ("parameters", "overrides"):
        _, words = asked(False, made(SnnStageOperator, native=False), field, literal(text), {})
        assert words.startswith(f"{called(field)}: ")
        assert f"expected {SnnStageOperator.kinds[field].wanted}: {problem}" in words
        assert len(words) < 500


@pytest.mark.parametrize("task", [task for task in TASKS if hasattr(task, "execute_complete")])
def test_a_task_that_is_taken_up_again_reads_its_fields_too(task: type[Any]) -> None:
    event = {"status": "error", "message": "no more", "run_id": "r", "operation": "o"}
    one = made(task, native=False, stack="{{ params.v }}")
    one.__dict__["hook"] = NoHook()
    one.render_template_fields(context({"v": {"stack_name": "mine"}}))
    assert one.stack == "{'stack_name': 'mine'}"
    with pytest.raises(Exception, match="no more"):
        one.execute_complete({}, event)
    assert one.stack == {"stack_name": "mine"}
    one.stack = "[1]"
    with pytest.raises(AirflowFailException, match=r"^stack: '\[1\]' is of type str, expected a stack's name"):
        one.execute_complete({}, event)


def test_a_templated_field_without_a_kind_is_refused_with_the_class() -> None:
    with pytest.raises(TypeError, match=r"^Mine: the template field colour has no kind: add it to `kinds`$"):
        type("Mine", (SnnStageOperator,), {"template_fields": (*SnnStageOperator.template_fields, "colour")})
    mine: Any = type("Mine", (SnnStageOperator,), {"kinds": {"colour": fields.NAME}})
    assert set(mine.template_fields) == {*SnnStageOperator.template_fields, "colour"}


def test_the_error_in_the_docs_is_this_one() -> None:
    _, words = asked(True, made(SnnStageOperator, native=True), "run_id", "{{ params.v }}", {"v": {"run_id": "cats-1"}})
    page = (Path(__file__).parents[3] / "docs" / "operators.md").read_text()
    assert f"`{words}`" in " ".join(page.split())
    assert words.startswith("run_id: {'run_id': 'cats-1'} is of type dict")
