"""Where the `snn` program begins."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Ctrl-C ends it without a traceback, also in the second in which it is still loaded."""
    try:
        from snn_cli.main import app

        app()
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted before anything was started.\n")
        sys.exit(130)
