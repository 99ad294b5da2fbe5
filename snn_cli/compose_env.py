"""`make compose-env`: fresh secrets for docker-compose.yaml. It imports the standard library only."""

from __future__ import annotations

import base64
import platform
import secrets
import sys


def settings() -> dict[str, str]:
    """Return what docker-compose.yaml takes from .env; all but the last are secrets."""
    return {
        "AIRFLOW_ADMIN_PASSWORD": secrets.token_urlsafe(12),
        "AIRFLOW_FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW_JWT_SECRET": secrets.token_urlsafe(64),
        "AIRFLOW_SESSION_SECRET": secrets.token_urlsafe(32),
        "POSTGRES_PASSWORD": secrets.token_urlsafe(24),
        # Lambda functions run on this machine's processor, in a container.
        "SNN_ARCHITECTURE": "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64",
    }


if __name__ == "__main__":
    sys.stdout.writelines(f"{name}={value}\n" for name, value in settings().items())
