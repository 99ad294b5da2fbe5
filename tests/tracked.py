"""MLflow's server as tests ask it: by its REST API, without MLflow's own client."""

from __future__ import annotations

from pathlib import Path

import httpx
from documentation import ROOT

from snn_cli.local import processes

VENV = ROOT / ".local" / "mlflow-venv"


class Server:
    """MLflow's server: metadata in SQLite, artifacts in a folder, asked by its REST API."""

    def __init__(self, home: Path) -> None:
        self.home, self.artifacts = home, home / "artifacts"
        self.url = f"http://{processes.LOOPBACK}:{processes.free_port()}"
        self.http = httpx.Client(base_url=self.url, timeout=30)

    def get(self, what: str, **query: str | int) -> dict[str, object]:
        answer = self.http.get(f"/api/2.0/mlflow/{what}", params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found

    def post(self, what: str, **body: object) -> dict[str, object]:
        answer = self.http.post(f"/api/2.0/mlflow/{what}", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found

    def healthy(self) -> bool:
        try:
            return self.http.get("/health").text == "OK"
        except httpx.TransportError:
            return False
