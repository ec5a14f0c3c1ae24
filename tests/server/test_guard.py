"""Who may come in, and how much they may bring."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from picojoule.cli import main
from tests.server.conftest import Server, Start
from tests.server_files import TABLE


def test_foreign_hosts_are_refused(server: Server) -> None:
    for host in ("evil.example", "localhost.evil.example", "127.0.0.2", "", "[::1"):
        answer = server.call("GET", "/", headers={"host": host})
        assert answer.status_code in (400, 421), host
    assert server.call("GET", "/", headers={"host": "localhost:1"}).status_code == 200


def test_other_sites_change_nothing(server: Server) -> None:
    question = {"network": "bvlc-alexnet", "chip": "eyeriss"}
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = server.call("POST", "/api/jobs", json=question, headers=headers)
        assert answer.status_code == 403
    assert server.call("GET", "/api/jobs").json() == []


def test_headers(server: Server) -> None:
    for path in ("/", "/api/about", "/static/page.css", "/nothing"):
        headers = server.call("GET", path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_large_bodies_are_refused(server: Server) -> None:
    answer = server.call("POST", "/api/chips/check", json={"yaml": "x" * 2_000_000})
    assert answer.status_code == 413
    # a length that lies, and none at all
    port = httpx.URL(server.url).port
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(
            b"POST /api/networks?file=x.onnx HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 99999999999\r\n\r\n"
        )
        assert b" 413 " in raw.recv(1000)
    pieces = (b"x" * 65536 for _ in range(40))
    assert server.call("POST", "/api/jobs", content=pieces).status_code == 413


@pytest.mark.slow
def test_an_upload_that_breaks_off_leaves_nothing(server: Server) -> None:
    port = httpx.URL(server.url).port
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(
            b"POST /api/networks?file=x.csv HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 1000\r\n\r\nname,in_channels"
        )
    assert server.upload("y.csv", TABLE).status_code == 201


@pytest.mark.slow
def test_beyond_loopback_a_token_is_asked_for(start: Start, tmp_path: Path) -> None:
    token = "abcdefghij0123456789"
    server = start(tmp_path / "s.sqlite3", "--host", "0.0.0.0", "--token", token)
    server.url = server.url.replace("0.0.0.0", "127.0.0.1")
    assert server.call("GET", "/").status_code == 401
    assert server.call("GET", "/api/about", params={"token": token[:-1]}).status_code == 401
    bearer = {"authorization": f"Bearer {token}"}
    assert server.call("GET", "/api/about", headers=bearer).status_code == 200
    assert server.call("GET", "/", headers={**bearer, "host": "evil.example"}).status_code == 421
    assert server.call("GET", "/", headers={**bearer, "host": "10.1.2.3"}).status_code == 200
    first = server.call("GET", "/r/x", params={"token": token})
    assert first.status_code == 303
    assert first.headers["location"] == "/r/x"
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    name, _, value = cookie.partition(";")[0].partition("=")
    assert server.call("GET", "/", cookies={name: value}).status_code == 200
    server.stop()


def test_wrong_options(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words in (["--port", "70000"], ["--token", "short"], ["--searches", "0"]):
        assert main(["serve", *words]) == 2
        assert "error: " in capsys.readouterr().err
    other = tmp_path / "notes.txt"
    other.write_text("no database")
    assert main(["serve", "--port", "0", "--store", str(other)]) == 2
    assert "notes.txt" in capsys.readouterr().err
