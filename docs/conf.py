"""How the pages become a site: `make docs`. Pages are Markdown that reads on its own; Sphinx adds the reference.

The source folder is the project's own, so that a link between two files is the same here and on a forge. Formulas
become MathML and diagrams SVG when the site is built, so that it loads nothing from another host (`tests/site`).
"""

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import mmdr
from docutils import nodes
from math_core import LatexToMathML
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[1]
_about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

project = "Serverless Neural Network for Airflow"
version = release = _about["version"]
author = "The authors"
copyright = f"{author}, {_about['license']}"

extensions = ["myst_nb", "sphinx.ext.autodoc", "autoapi.extension"]
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
myst_update_mathjax = False
html_math_renderer = "mathml"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # from a CDN; the notebooks have no widgets
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
# What compat.py has is Airflow's.
nitpick_ignore_regex = [
    ("py:.*", r"(?!snn(_data|_cloud|_client|_operators)?\b).*"),
    ("py:.*", r"snn_operators\.compat\..*"),
]
default_role = "literal"  # docstrings set names in single backticks

html_theme = "furo"
html_title = project
html_additional_pages = {"index": "start.html"}  # the site's root leads to docs/index
html_copy_source = False


DIAGRAMS = ROOT / ".local" / "docs-diagrams"
LOOK = '%%{init: {"theme": "neutral", "themeVariables": {"fontFamily": "arial, sans-serif"}}}%%\n'


class Mermaid(SphinxDirective):
    """A diagram, drawn as SVG; its alternative text is its source, which names all boxes and arrows."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Draw it into a file, which Sphinx takes into the site."""
        text = "\n".join(self.content)
        svg = mmdr.render(LOOK + text).svg()
        if ' style="' not in svg:
            raise self.error("the drawing's own style has moved")
        svg = svg.replace(' style="', ' style="background:#fff;', 1)  # the site has a dark side
        file = DIAGRAMS / f"mermaid-{hashlib.sha256(svg.encode()).hexdigest()[:12]}.svg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(svg)
        return [nodes.image(uri=f"/{file.relative_to(ROOT).as_posix()}", alt=" ".join(text.split()))]


def _formula(translator: Any, node: Any) -> None:
    """Write a formula as MathML. Raises LatexError for one that cannot be."""
    block = isinstance(node, nodes.math_block)
    translator.body.append(LatexToMathML().convert_with_local_state(node.astext(), displaystyle=block))
    raise nodes.SkipNode


def _as_it_stands(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Show an indented paragraph of a docstring, a diagram or a formula, as it stands: docstrings need no markup."""
    for place in range(len(lines) - 1, 0, -1):
        if lines[place].startswith("    ") and not lines[place - 1]:
            before = next((line for line in reversed(lines[:place]) if line), "")
            if not before.startswith(" ") and not before.endswith("::"):
                lines[place:place] = ["::", ""]


def setup(app: Any) -> None:
    """Tell Sphinx of what is done here."""
    app.add_directive("mermaid", Mermaid)
    app.add_html_math_renderer("mathml", (_formula, None), (_formula, None))
    app.connect("autodoc-process-docstring", _as_it_stands)
