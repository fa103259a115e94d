"""The viewer's server: Starlette on uvicorn, for a browser on this machine.

Only GET and HEAD are answered, and only to requests that name this server as their host: a page of another site whose
name was made to lead here (DNS rebinding) gets nothing.  No answer may be used by pages of other sites.
"""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

from evalkit.core.errors import ConfigError, EvalkitError, first_line
from evalkit.reports.viewer.site import JPEG, Site

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Addresses that mean every address of the machine.
_EVERY = ("0.0.0.0", "::")  # noqa: S104 - compared with, never bound unless the user gives it


def require() -> None:
    """Raise ConfigError if the packages of the extra are not installed."""
    if missing := [name for name in ("starlette", "uvicorn") if find_spec(name) is None]:
        raise ConfigError(
            f"The viewer's server needs {' and '.join(missing)}, which this environment lacks: pip install "
            "'evalkit-medvqa[view]'. Without it: `python -m evalkit view runs=DIR to=FOLDER` writes the same pages as "
            "files, and `python -m evalkit report run=RUN` one run's page."
        )


def application(site: Site, host: str) -> Starlette:
    """The server's application.

    host: the address that it listens on, which decides under which names it answers; see `is_own_host`.
    """
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    def answer(request: Request) -> Response:
        """The document at the address; run in a thread, as making one may take seconds."""
        if not is_own_host(request.headers.get("host", ""), host):
            return PlainTextResponse("This server answers under its own name only.\n", status_code=421, headers=HEADERS)
        try:
            found = site.find(request.path_params["address"])
        except EvalkitError as problem:
            return PlainTextResponse(site.shown(str(problem)), status_code=500, headers=HEADERS)
        if found is None:
            return PlainTextResponse("There is nothing at this address.\n", status_code=404, headers=HEADERS)
        kept = "private, max-age=600" if found.media_type == JPEG else "no-store"
        return Response(found.content, media_type=found.media_type, headers={**HEADERS, "Cache-Control": kept})

    return Starlette(routes=[Route("/{address:path}", answer, methods=["GET"])])


def is_own_host(header: str, host: str) -> bool:
    """Whether a request's Host header names this server.

    The port may be any, as a tunnel has its own.  A server on every address answers to each IP address, which no other
    site's name can be, and to the machine's name.

    >>> is_own_host("localhost:9000", "127.0.0.1"), is_own_host("evil.example:8000", "127.0.0.1")
    (True, False)
    """
    name = _host_name(header)
    if name in LOOPBACK or name == host.lower():
        return True
    return host in _EVERY and (_is_address(name) or name == socket.gethostname().lower())


def _host_name(header: str) -> str:
    name, colon, port = header.strip().lower().rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()):
        name = header.strip().lower()
    return name[1:-1] if name.startswith("[") and name.endswith("]") else name


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any free one.

    Raises:
        ConfigError: the address is not one of this machine, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(64)
    except (OSError, OverflowError) as problem:
        found.close()
        raise ConfigError(
            f"host={host} port={port} cannot be listened on ({first_line(problem)}). Another program may have the "
            "port: choose one with port=NUMBER, or port=0 for any free one."
        ) from problem
    return found


def serve(site: Site, host: str, at: socket.socket) -> None:
    """Answer requests until Ctrl-C, which is how a viewer ends and no failure."""
    import uvicorn

    config = uvicorn.Config(
        application(site, host), log_level="warning", access_log=False, server_header=False, lifespan="off"
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[at])


def address_of(at: socket.socket, host: str) -> str:
    """The address to open in a browser on this machine."""
    name = "127.0.0.1" if host in _EVERY else host
    return f"http://{f'[{name}]' if ':' in name else name}:{at.getsockname()[1]}/"
