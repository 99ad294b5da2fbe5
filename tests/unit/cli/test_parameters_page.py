"""docs/parameters.md and `snn parameters` say what the registries hold, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
from typer.testing import CliRunner

from snn.activations import ACTIVATIONS
from snn.augmentation import AUGMENTATIONS
from snn.losses import LOSSES
from snn.optimizers import OPTIMIZERS
from snn.schedules import SCHEDULES
from snn.strategies import STRATEGIES
from snn_cli.main import app
from snn_cli.parameters_page import EXAMPLE, page
from snn_cloud.ledger.parameters import Parameters

PAGE = Path(__file__).parents[3] / "docs" / "parameters.md"


def test_the_page_is_what_the_registries_say() -> None:
    assert PAGE.read_text() == page(), "python -m snn_cli.parameters_page > docs/parameters.md"


def test_every_key_and_every_name_of_a_registry_is_a_row() -> None:
    rows = [line.split("|")[1].strip() for line in page().splitlines() if line.startswith("| `")]
    wanted = [
        *Parameters.model_fields, *ACTIVATIONS, *(loss.output for loss in LOSSES.values()), *STRATEGIES, *OPTIMIZERS,
        *SCHEDULES, *AUGMENTATIONS,
    ]  # fmt: skip
    assert sorted(rows) == sorted(f"`{name}`" for name in wanted)


def test_the_example_can_be_trained() -> None:
    assert Parameters.load(EXAMPLE).strategy == "sgd"


def test_the_command_prints_a_schema_that_takes_the_example_and_refuses_a_mistake() -> None:
    done = CliRunner().invoke(app, ["parameters"])
    assert done.exit_code == 0
    schema = json.loads(done.output)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert list(validator.iter_errors(EXAMPLE)) == []
    for mistake in ({"optimizer": "adm"}, {"augmentation": {"flip": True}}, {"epoch": 3}, {"dtype": "float16"}):
        assert list(validator.iter_errors({**EXAMPLE, **mistake})) != []


def test_the_command_takes_the_options_of_data_that_are_no_h5(tmp_path: Path) -> None:
    """What is learned, and so the recipe, depends on them: here numbers 0 to 3 as classes, or as numbers."""
    table = tmp_path / "t.csv"
    table.write_text("x,kind,note\n" + "".join(f"{row % 7},{row % 4},{row * row % 11}\n" for row in range(80)))
    printed = {}
    for task in ("classification", "regression"):
        done = CliRunner().invoke(app, ["parameters", "--for", str(table), "--label", "kind", "--task", task])
        assert done.exit_code == 0, done.output
        printed[task] = Parameters.load(json.loads(done.stdout))
    assert printed["classification"].activation_per_layer == ("relu", "softmax")
    assert printed["classification"].neurons_per_layer[-1] == 4
    assert printed["regression"].activation_per_layer == ("relu", "identity")
    assert printed["regression"].target_scaling is not None


def test_options_of_data_need_data() -> None:
    done = CliRunner().invoke(app, ["parameters", "--label", "kind"])
    assert done.exit_code != 0
    assert done.stderr == "error: --for: is missing (name the data that the other options are about)\n"
