"""How the pages become a site: `make docs`. Pages are Markdown that reads on its own; Sphinx adds the reference.

The source folder is the project's own, so that a link between two files is the same here and on a forge.
"""

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

project = "Serverless Neural Network for Airflow"
version = release = _about["version"]
author = "The authors"
copyright = f"{author}, {_about['license']}"

extensions = ["myst_nb", "sphinxcontrib.mermaid", "sphinx.ext.autodoc", "autoapi.extension"]
root_doc = "docs/index"
include_patterns = [
    "docs/**", "notebooks/*.ipynb", "notebooks/README.md", "CHANGELOG.md", "CONTRIBUTING.md", "datasets/README.md",
    "benchmarks/README.md",
]  # fmt: skip
# What Sphinx need not even walk through.
exclude_patterns = [".*", "build", "dist", "tests", "lambda_functions", "plugins", "snn_cli", "docs/_templates"]
templates_path = ["_templates"]

myst_enable_extensions = ["dollarmath"]
myst_dmath_allow_digits = False  # "$5 and $6" are prices
myst_dmath_allow_space = False
myst_fence_as_directive = ["mermaid", "math"]  # as forges draw them
myst_heading_anchors = 4
nb_execution_mode = "off"  # notebooks are committed with their outputs; the tests execute them
# Type variables of the same name are no ambiguity, and a circle of imports that only the type checker goes is no fault.
suppress_warnings = ["myst-nb.lexer", "ref.python", "autoapi.python_import_resolution"]

# Read, not imported: neither Airflow nor AWS is installed to build the site.
autoapi_dirs = [
    *(f"lambda_functions/{name}" for name in ("snn", "snn_data", "snn_cloud")),
    "snn_client",
    "plugins/snn_operators",
]
autoapi_root = "docs/reference"
autoapi_add_toctree_entry = False
autoapi_options = ["members", "undoc-members", "show-inheritance", "show-module-summary"]
autoapi_member_order = "bysource"
autoapi_own_page_level = "module"
autoapi_python_use_implicit_namespaces = True  # or names would begin with "lambda_functions."
nitpicky = True  # a docstring that refers to what is not there is a warning; other projects' names are not looked up
nitpick_ignore_regex = [("py:.*", r"(?!snn(_data|_cloud|_client|_operators)?\b).*")]
default_role = "literal"  # docstrings set names in single backticks

html_theme = "furo"
html_title = project
html_additional_pages = {"index": "start.html"}  # the site's root leads to docs/index
html_copy_source = False


def _as_it_stands(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Show an indented paragraph of a docstring, a diagram or a formula, as it stands: docstrings need no markup."""
    for place in range(len(lines) - 1, 0, -1):
        if lines[place].startswith("    ") and not lines[place - 1]:
            before = next((line for line in reversed(lines[:place]) if line), "")
            if not before.startswith(" ") and not before.endswith("::"):
                lines[place:place] = ["::", ""]


def setup(app: Any) -> None:
    """Tell Sphinx of what is done here."""
    app.connect("autodoc-process-docstring", _as_it_stands)
