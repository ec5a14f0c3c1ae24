"""The command that opens the web page."""

from __future__ import annotations

import secrets
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from picojoule.cli.answers import YES, print_text, say
from picojoule.errors import PicojouleError

if TYPE_CHECKING:
    from picojoule.server.guard import Door

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANY = ("0.0.0.0", "::")


def serve(
    *runs: Annotated[Path, Parameter(help="Folders of compression runs to show.")],
    port: Annotated[int, Parameter(help="Listen here; 0 takes a free port.")] = 8400,
    host: Annotated[
        str, Parameter(help="Address to listen on; beyond this computer a token is asked for.")
    ] = "127.0.0.1",
    token: Annotated[
        str | None,
        Parameter(help="What clients from elsewhere must show; made if not given."),
    ] = None,
    store: Annotated[
        Path | None, Parameter(help="The file that keeps networks, jobs and results.")
    ] = None,
    searches: Annotated[int, Parameter(help="Searches that run at once.")] = 1,
    allow_host: Annotated[
        list[str] | None,
        Parameter(negative="", help="A name under which clients reach this server; repeatable."),
    ] = None,
) -> int:
    """Serve the web page and its JSON API until interrupted. Nothing leaves this computer."""
    if not 0 <= port <= 65535:
        raise PicojouleError(f"--port: {port} is not a port from 0 to 65535")
    if not 1 <= searches <= 64:
        raise PicojouleError(f"--searches: {searches} is not a number from 1 to 64")
    from picojoule.tradeoffs import read_run

    for folder in runs:
        read_run(folder)  # a mistake is said now, not on a page
    door = _door(host, token, allow_host or [])
    try:
        import uvicorn

        from picojoule.server.app import create_app
        from picojoule.server.limits import ServerLimits
    except ImportError:
        raise PicojouleError("the web page needs more: pip install 'picojoule[web]'") from None
    limits = ServerLimits(searches=searches)
    app = create_app(store or default_store(), door=door, limits=limits, runs=runs)
    listening = _listen(host, port)
    # A shell starts what it puts in the background with Ctrl-C ignored; this ends on it all the
    # same, and says so: uvicorn raises the signal once more after it has shut down.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    shown = f"[{host}]" if ":" in host else "localhost" if host in LOOPBACK else host
    address = f"http://{shown}:{listening.getsockname()[1]}/"
    print_text(address if door.token is None else f"{address}?token={door.token}")
    say("serving; Ctrl-C ends it")
    config = uvicorn.Config(
        app,
        log_level="warning",
        server_header=False,
        limit_concurrency=1024,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
    )
    uvicorn.Server(config).run(sockets=[listening])
    return YES


def _door(host: str, token: str | None, names: list[str]) -> Door:
    from picojoule.server.guard import Door

    if host in LOOPBACK:
        return Door(frozenset({*LOOPBACK, *names}), token=_checked(token))
    hosts = frozenset({host, *names} - set(ANY))
    return Door(hosts, addresses=True, token=_checked(token) or secrets.token_urlsafe(24))


def _checked(token: str | None) -> str | None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    if token is not None and (len(token) < 16 or any(c not in letters for c in token)):
        raise PicojouleError("--token: at least 16 letters, digits, - and _")
    return token


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise PicojouleError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; --port 0 takes a "
            "free one"
        ) from None
    return listening


def default_store() -> Path:
    """Where results are kept if nothing is said: the user's own data folder."""
    from platformdirs import user_data_path

    return user_data_path("picojoule") / "server.sqlite3"
