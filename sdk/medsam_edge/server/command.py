"""`medsam-edge serve`: segment from a browser, a program or a viewer."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import socket
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from medsam_edge.errors import FileMissingError, InputError
from medsam_edge.modality import Modality
from medsam_edge.segmenter import Segmenter
from medsam_edge.server.app import make_app
from medsam_edge.server.guard import AUDIT, LOOPBACK
from medsam_edge.server.limits import MIB, Limits
from medsam_edge.server.protocol import patient
from medsam_edge.server.service import Service
from medsam_edge.server.warned import listen

TOKEN_VARIABLE = "MEDSAM_EDGE_TOKEN"  # noqa: S105
SHORTEST_TOKEN = 16
EPILOG = """\
examples:
  medsam-edge serve --open                     # a page in the browser; drop an image on it
  medsam-edge serve images -o masks            # the images of a folder; saved masks go to another
  medsam-edge serve --protocol nninteractive   # for napari and 3D Slicer: URL and token go into their settings

Only this machine can reach the server unless --host says otherwise, and nobody without the token. See SECURITY.md.
"""


def run(argv: Sequence[str]) -> int:
    """Parse, serve until interrupted, return the exit code; raises the sdk's errors."""
    options = _parser().parse_args(argv)
    limits = Limits(
        upload_bytes=options.upload_mib * MIB,
        memory_bytes=options.memory_mib * MIB,
        client_bytes=options.memory_mib * MIB // 2,
        workers=options.workers,
    )
    token = _token(options.token)
    if options.path is not None and not options.path.exists():
        raise FileMissingError(f"path: no such file or folder: {options.path}")
    listen()
    segmenter = Segmenter(
        options.bundle, device=options.device, num_threads=options.threads, cache_dir=options.cache_dir
    )
    hosts = {*LOOPBACK, options.host, *options.allow_host} - {"0.0.0.0", "::"}  # noqa: S104
    app: ASGIApp
    if options.protocol == "nninteractive":
        app = _viewers_app(segmenter, limits, token, hosts, Modality.parse(options.modality))
    else:
        app = make_app(Service(segmenter, limits, options.path, options.output), token, hosts)
    _log_to(options.audit)
    with open_port(options.host, options.port) as listening:
        port = listening.getsockname()[1]
        name = f"[{options.host}]" if ":" in options.host else options.host
        url = f"http://{name}:{port}"
        if options.protocol == "nninteractive":
            print(f"server: {url}\ntoken:  {token}", flush=True)
        else:
            page = f"{url}/#token={token}"
            print(page, flush=True)
            if options.open:
                webbrowser.open(page)
        server_for(app, limits).run(sockets=[listening])
    return 0


def server_for(app: ASGIApp, limits: Limits) -> uvicorn.Server:
    """A server that is ready to run on given sockets."""
    config = uvicorn.Config(
        app,
        http=patient(limits.silence_seconds),
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=int(limits.silence_seconds),
        timeout_graceful_shutdown=5,
    )
    return uvicorn.Server(config)


def _viewers_app(
    segmenter: Segmenter, limits: Limits, token: str, hosts: set[str], modality: Modality | None
) -> ASGIApp:
    try:
        from medsam_edge.server.nninteractive.app import make_viewers_app
    except ModuleNotFoundError as error:
        raise InputError(
            f"--protocol: nninteractive needs {error.name}, which is not installed: "
            "pip install 'medsam-edge[nninteractive]'"
        ) from error
    return make_viewers_app(segmenter, limits, token, hosts, modality)


def _token(given: str | None) -> str:
    token = given or os.environ.get(TOKEN_VARIABLE)
    if token is None:
        return secrets.token_urlsafe(24)
    if len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable() and " " not in token):
        raise InputError(f"--token: expected at least {SHORTEST_TOKEN} printable letters without spaces")
    return token


def open_port(host: str, port: int) -> socket.socket:
    """A listening socket. OSError where the address is taken becomes InputError."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family)
        # Connections inherit it. Without it an answer's second packet waits for the client to confirm the first: 40 ms.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        return listening
    except OSError as error:
        raise InputError(f"--host, --port: cannot listen on {host}:{port}: {error.strerror or error}") from error


def _log_to(file: Path | None) -> None:
    """The audit log goes to a file; without one there is none."""
    if file is None:
        AUDIT.addHandler(logging.NullHandler())
        return
    try:
        handler = logging.FileHandler(file, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--audit: cannot write {file}: {error.strerror}") from error
    handler.setFormatter(logging.Formatter("%(message)s"))
    AUDIT.addHandler(handler)
    AUDIT.setLevel(logging.INFO)
    AUDIT.propagate = False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="medsam-edge serve",
        description="Segment from a page in the browser, from programs, or from viewers. Nothing leaves the machine.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EPILOG,
    )
    add = parser.add_argument
    add("path", type=Path, nargs="?", help="an image, or a folder of images and DICOM series, to offer on the page")
    add("--protocol", choices=("rest", "nninteractive"), default="rest", help="default: rest, with the page")
    add("-o", "--output", type=Path, default=Path("results"), metavar="DIR", help="saved masks; default: results")
    add("--open", action="store_true", help="open the page in the browser")
    add("--modality", metavar="NAME", help="of all images that viewers send; default: from them, else recognised")

    add = parser.add_argument_group("network").add_argument
    add("--host", default="127.0.0.1", help="address to listen on; default: 127.0.0.1, this machine only")
    add("--port", type=int, default=8765, help="0 for a free one; default: 8765")
    add("--token", help=f"at least {SHORTEST_TOKEN} letters; default: {TOKEN_VARIABLE}, else made anew")
    add("--allow-host", action="append", default=[], metavar="NAME", help="another name of the server; repeatable")
    add("--audit", type=Path, metavar="FILE", help="append a line of JSON for each request")

    add = parser.add_argument_group("limits").add_argument
    add("--upload-mib", type=_count, default=1024, metavar="N", help="largest upload; default: 1024")
    add("--memory-mib", type=_count, default=4096, metavar="N", help="images and results in memory; default: 4096")
    add("--workers", type=_count, default=2, metavar="N", help="requests that are segmented at once; default: 2")

    add = parser.add_argument_group("model").add_argument
    add("--bundle", type=Path, metavar="DIR", help="model bundle; default: the packaged one")
    add("--device", default="CPU", help="OpenVINO device; default: CPU")
    add("--threads", type=int, metavar="N", help="CPU threads of one inference; default: OpenVINO's choice")
    add("--cache-dir", type=Path, metavar="DIR", help="keep compiled models here: faster starts")
    return parser


def _count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    from medsam_edge.cli.main import guarded

    sys.exit(guarded(run, sys.argv[1:]))
