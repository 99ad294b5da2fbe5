"""What is said of a failure: in the log, where it happened, but nothing of what was asked."""

from __future__ import annotations

import traceback

from botocore.exceptions import BotoCoreError, ClientError

from snn.errors import SnnError
from snn_cloud.aws.objects import NOT_ALLOWED

NO_CONTENTS = (SnnError, BotoCoreError, ClientError)
"""Whose messages are about models and services. Any other may quote a value of the request."""

DENIED = NOT_ALLOWED | {"AccessDeniedException"}


def tell(problem: Exception) -> None:
    """Print the lines of code that a problem came through, and its message if that holds nothing of a request."""
    said = f": {problem}" if isinstance(problem, NO_CONTENTS) else ""
    print(f"{''.join(traceback.format_tb(problem.__traceback__))}{type(problem).__name__}{said}")


def is_denied(problem: Exception) -> bool:
    """Return whether AWS refused a call: a role lacks a permission, and trying again is of no use."""
    return isinstance(problem, ClientError) and problem.response["Error"]["Code"] in DENIED
