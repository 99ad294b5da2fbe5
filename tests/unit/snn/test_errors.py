import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn.errors import MESSAGE_LENGTH, InvalidInput, one_line


def test_a_message_is_file_field_problem_and_hint():
    refused = InvalidInput("is 0", field="epochs", source="parameters.json", hint="at least 1")
    assert str(refused) == "parameters.json: epochs: is 0 (at least 1)"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nb", r"a\nb"),
        ("a\r\x1b[31mred", r"a\r\x1b[31mred"),
        ("line\u2028end", r"line\u2028end"),
        ("\ud800", r"\ud800"),
        ("Größe 5 µm", "Größe 5 µm"),
    ],
)
def test_what_would_break_a_line_or_a_terminal_is_spelled_out(text, line):
    assert one_line(text) == line


@given(st.text(), st.text(), st.text(), st.text())
def test_any_message_is_one_line_that_can_be_stored(problem, field, source, hint):
    message = str(InvalidInput(problem, field=field, source=source, hint=hint))
    assert len(message.splitlines()) <= 1
    assert message.encode().decode() == message


def test_a_message_is_cut_to_what_a_ledger_and_an_email_take():
    message = str(InvalidInput("x" * 500_000, field="neurons"))
    assert len(message) == MESSAGE_LENGTH
    assert message.startswith("neurons: xxx")
    assert message.endswith(" …")
