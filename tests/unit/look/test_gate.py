"""What is refused before a route sees it, and what the page's own files may do."""

from __future__ import annotations

import hashlib
import re

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.testclient import TestClient
from page_routes import routes_of

from snn_client.look import gate
from snn_client.look.app import STATIC, make_app, static_routes
from snn_client.look.gate import Gate, refusal
from snn_client.look.viewers import Owner, OwnerBySecret

GOOD = {"content-type": "application/json", "content-length": "2", "host": "airflow.example:8080"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, None),
        ({"sec-fetch-site": "same-origin", "origin": "https://proxy.example"}, None),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"origin": "http://airflow.example:8080"}, None),
        ({"origin": "http://airflow.example"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://front.example", "x-forwarded-host": "front.example"}, None),
        ({"content-type": "application/octet-stream"}, None),
        ({"content-type": "image/png"}, None),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "multipart/form-data"}, 415),
        ({"content-type": "image/png", "content-length": str(gate.MOST_BYTES)}, None),
        ({"content-type": "image/png", "content-length": str(gate.MOST_BYTES + 1)}, 413),
        ({"content-length": str(gate.MOST_JSON)}, None),
        ({"content-length": str(gate.MOST_JSON + 1)}, 413),
        ({"origin": "https://front.example", "x-forwarded-host": "front.example, inner.example"}, None),
        ({"content-length": "many"}, 411),
    ],
)
def test_what_another_site_makes_a_browser_send_is_refused(headers: dict[str, str], status: int | None) -> None:
    found = refusal({**GOOD, **headers})
    assert (found and found[0]) == status


def test_a_body_without_a_length_is_refused() -> None:
    assert refusal({name: value for name, value in GOOD.items() if name != "content-length"}) == (
        411, "send the length of what you send",
    )  # fmt: skip


def test_every_answer_keeps_the_page_to_itself() -> None:
    app = FastAPI()
    app.include_router(static_routes())
    app.add_middleware(Gate)

    @app.post("/change")
    def change() -> dict[str, str]:
        return {"changed": "yes"}

    client = TestClient(app)
    refused = client.post("/change", json={}, headers={"origin": "http://evil.example"})
    assert (refused.status_code, refused.json()["error"][:13]) == (403, "this request ")
    for answer in (client.get("/"), client.get("/nothing"), client.post("/change", json={}), refused):
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'self'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    page = client.get("/")
    assert page.headers["cache-control"] == "private, no-cache"
    assert client.get("/", headers={"if-none-match": page.headers["etag"]}).status_code == 304
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/static/%2e%2e/app.py").status_code == 404
    assert client.get("/static/nothing.js").json()["detail"] == "there is no file 'nothing.js'"


def test_nobody_sees_anything_unless_somebody_says_who_they_are() -> None:
    def refuses() -> Owner:
        raise HTTPException(401, "who are you?")

    app = make_app([], refuses)
    client = TestClient(app)
    paths = {(route.path, method) for route in routes_of(app) for method in route.methods}
    assert len(paths) > 20
    for path, method in paths:
        asked = re.sub(r"{[^}]*}", "1", path)
        assert client.request(method, asked, json={} if method == "POST" else None).status_code == 401, path
    page = client.get("/", headers={"accept": "text/html"})
    assert "Log in first" in page.text


def test_the_owner_is_who_has_the_secret() -> None:
    app = FastAPI()
    known = OwnerBySecret("s3cret", 8642)

    @app.get("/")
    def page(request: Request) -> str:
        return known(request).name

    client = TestClient(app, base_url="http://127.0.0.1:8642", follow_redirects=False)
    assert client.get("/").status_code == 401
    assert client.get("/?token=wrong").status_code == 401
    given = client.get("/?token=s3cret")
    assert (given.status_code, given.headers["location"]) == (303, "./")
    assert given.headers["set-cookie"].endswith("; HttpOnly; SameSite=Strict; Path=/")
    cookie = given.headers["set-cookie"].partition(";")[0].removeprefix("snn-look-8642=")
    assert len(cookie) >= 32
    client.cookies.clear()
    client.cookies.set("snn-look-8642", "s3cret")  # the address's secret is none of the cookie's
    assert client.get("/").status_code == 401
    client.cookies.clear()
    client.cookies.set("snn-look-8642", cookie)
    assert client.get("/").json() == "you"
    assert client.get("/", headers={"host": "evil.example:8642"}).status_code == 403


def test_the_page_is_made_of_files_that_need_nothing_else() -> None:
    names = {str(path.relative_to(STATIC)) for path in STATIC.rglob("*") if path.is_file()}
    for path in STATIC.glob("*.js"):
        text = path.read_text()
        for module in re.findall(r'^import .* from "([^"]+)";$', text, re.M):
            assert module.removeprefix("./") in names, (path.name, module)
        assert "http://" not in text.replace("http://www.w3.org/", "")
        assert "https://" not in text
        assert "innerHTML" not in text
        assert "eval(" not in text
    index = (STATIC / "index.html").read_text()
    assert not re.search(r"<script>|style=|onclick=|https?://", index)
    used = {name.removeprefix("static/") for name in re.findall(r'(?:src|href)="(static/[^"]+)"', index)}
    assert used <= names
    assert {name for name in names if name.endswith(".js")} <= used, "all are fetched at once, not one after the other"


def test_what_is_vendored_is_what_was_released() -> None:
    # uPlot 1.6.32, as npm has it
    given = {
        "uPlot.esm.js": "5dd9b3281aa64b461b42d9945f6adb2649d346502b12281a9ae0d46599a80eba",
        "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
        "uPlot-LICENSE.txt": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
    }
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (STATIC / "vendor").iterdir()}
    assert found == given
