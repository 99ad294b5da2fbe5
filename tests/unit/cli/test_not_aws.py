"""A command whose calls are answered by something that is not AWS: a proxy, or a login page."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PAGE = b"<html><body>Please log in<br>to the guest network</body></html>"


class Portal(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def portal() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Portal) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("command", [["status"], ["cleanup", "--dry-run"]])
def test_it_ends_with_one_line(portal: str, command: list[str], tmp_path: Path) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_MAX_ATTEMPTS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "snn_cli.main", *command, "--endpoint-url", portal, "--region", "eu-central-1"],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, **keys}, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    said = [line for line in done.stderr.splitlines() if not line.startswith(("stack snn", "looking"))]
    assert said == [
        "error: AWS: what answered is not AWS, perhaps a proxy or a login page between (check network and proxy): "
        f"{PAGE!r}"
    ]
