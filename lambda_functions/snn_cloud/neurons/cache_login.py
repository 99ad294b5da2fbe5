"""Logging in to ElastiCache as an IAM role: a signed URL stands in for a password and lives for 15 minutes."""

from __future__ import annotations

import time
from urllib.parse import urlencode

import botocore.session
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from redis.credentials import CredentialProvider

from snn_cloud.aws.errors import CloudError

TOKEN_SECONDS = 900


class IamLogin(CredentialProvider):
    """Gives redis-py a user name and a fresh token whenever it opens a connection.

    The token is a SigV4-signed `connect` request without its scheme, as the ElastiCache User Guide describes under
    "Authenticating with IAM".
    """

    def __init__(self, user: str, cache_name: str, region: str) -> None:
        self._user, self._cache, self._region = user, cache_name, region
        self._token, self._renew_at = "", 0.0

    def get_credentials(self) -> tuple[str, str]:
        """Return (user, token)."""
        if time.monotonic() >= self._renew_at:
            query = urlencode({"Action": "connect", "User": self._user})
            request = AWSRequest("GET", f"https://{self._cache}/?{query}")
            # Asked for anew each time: a role's credentials change under a warm function.
            credentials = botocore.session.get_session().get_credentials()
            if credentials is None:
                raise CloudError("no AWS credentials to log in to the cache with")
            SigV4QueryAuth(credentials, "elasticache", self._region, expires=TOKEN_SECONDS).add_auth(request)
            self._token = str(request.url).removeprefix("https://")
            self._renew_at = time.monotonic() + TOKEN_SECONDS / 2
        return self._user, self._token
