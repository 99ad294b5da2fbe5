"""The report's page with names that want to be more than text, looked at with an HTML parser."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser
from typing import Any

from badinput.given import ODD_TEXT, network
from badinput.tally import generated, judge
from hypothesis import example, given
from hypothesis import strategies as st

from snn_client.reports.page import DataFacts, render_page
from snn_cloud.ledger.parameters import Parameters

DOOR = "report page"
PARAMETERS = Parameters.load(network())


class Page(HTMLParser):
    """What a browser makes of a page: its elements with their attributes' names, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: Counter[tuple[str, ...]] = Counter()
        self.text, self.values = "", list[str]()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag, *(name for name, _ in attrs)] += 1
        self.values += [value or "" for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.elements["comment",] += 1

    def handle_decl(self, decl: str) -> None:
        self.elements["declaration", decl] += 1


def page(no: str, yes: str, photo: str, place: str) -> Page:
    matrix = {"tn": 1, "fp": 1, "fn": 1, "tp": 1}
    names = ("accuracy", "error", "sensitivity", "specificity", "false_positive_rate", "precision", "f1")
    report: dict[str, Any] = {
        "run_id": "r",
        "training": {
            "epochs_configured": 3, "epochs_run": 3, "stopped_by": "epochs", "final_cost": 0.5, "seconds": 1.0,
            "granularity": "batch", "strategy": "full-batch",
        },
        "test_set": {
            **dict.fromkeys(names, 0.5), "confusion_matrix": matrix, "mislabelled_left_out": 0,
            "mislabelled": [{"index": 0, "label": 0, "predicted": 1, "probability": 0.7}],
        },
        "new_images": [{"uri": photo, "predicted": 1, "class_name": yes, "probability": 0.8}],
        "new_images_left_out": 0,
        "cost": {"usd": 0.0},
        "artifacts": {"report_html": place},
    }  # fmt: skip
    data = DataFacts((no, yes), (3, 3, 3), (2, 2), (2, 2), "0" * 64, place)
    html = render_page(report, PARAMETERS, {"cost": [0.7, 0.6, 0.5]}, data, started_at=1.0, ended_at=2.0)
    html.encode()  # as it goes to S3
    return Page(html)


HARMLESS = page("no", "yes", "cat.png", "s3://b/k")
NAMES = st.one_of(
    st.text(max_size=30),
    ODD_TEXT,
    st.sampled_from(
        [
            "<script>alert(1)</script>", "</title><script>x</script>", '" onload="alert(1)', "' onerror='x",
            "<img src=x>", "--><b>", "]]>", "&lt;b&gt;", "&#60;b&#62;", "{{ 7 * 7 }}", "{% raw %}", "</style><b>",
            "javascript:alert(1)",
            "\x00\x08\x1b[2J", "\u2028</li>", "\u202e", "<!--", "<!DOCTYPE x>", "a/b/<i>.png", "%3Cb%3E", "`${x}`",
        ]
    ),
).map(lambda name: name.encode("utf-8", "replace").decode())  # what a file's name or an HDF5 text can be  # fmt: skip


@generated
@given(NAMES, NAMES, NAMES, NAMES)
@example("<b>", "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>.png', "s3://b/<i>")
def test_any_name_is_text(no: str, yes: str, photo: str, place: str) -> None:
    made = judge(DOOR, "names", lambda: page(no, yes, photo, place))
    assert made is not None
    assert made.elements == HARMLESS.elements
    for name in (no, yes):
        assert _plain(name) in made.text
    assert _plain(photo) in made.values


def _plain(text: str) -> str:
    """As the page shows text: what would steer a terminal, or turn the text around, is spelled out."""
    return "".join(
        f"\\x{ord(each):02x}"
        if ord(each) < 32 or 127 <= ord(each) < 160
        else f"\\u{ord(each):04x}"
        if each in "\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
        else each
        for each in text
    )
