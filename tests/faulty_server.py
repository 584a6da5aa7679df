"""A web server that does to its clients what servers do on bad days."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# Of every eleven requests one is hung up on and one gets a 503.
USUAL = {1: "drop", 6: "503"}


class FaultyServer(ThreadingHTTPServer):
    """Serves a folder.

    Args:
        folder: what is served.
        ranges: whether parts of files may be asked for.
        fault: what goes wrong with the n-th request, counted from 1, or None:
            "503", "drop" (half of the body, then hung up), "silent" (no answer at all), "stall"
            (half of the body, then nothing), "page" (something else than the file).
        headers: sent along with every file; may be changed while serving.
        empty_heads: answer that every file is empty when asked for its headers only.

    Attributes:
        faults: how many requests were answered how badly.
    """

    daemon_threads = True

    def __init__(
        self,
        folder: Path,
        *,
        ranges: bool = True,
        fault: Callable[[int], str | None] = lambda number: USUAL.get(number % 11),
        headers: dict[str, str] | None = None,
        empty_heads: bool = False,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.ranges, self.fault = folder, ranges, fault
        self.headers = {} if headers is None else headers
        self.empty_heads = empty_heads
        self.faults: Counter[str | None] = Counter()
        self.closing = threading.Event()
        self._count, self._lock = 0, threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was hung up on hangs up too."""

    def turn(self) -> str | None:
        """What goes wrong with the next request."""
        with self._lock:
            self._count += 1
            fault = self.fault(self._count)
            self.faults[fault] += 1
            return fault

    @property
    def url(self) -> str:
        """Of the folder."""
        return f"http://127.0.0.1:{self.server_port}"

    def close(self) -> None:
        """Let go of everybody who still waits."""
        self.closing.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def log_message(self, *args: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        fault = self.server.turn()
        if fault == "silent":
            self.server.closing.wait()
            self.close_connection = True
        elif fault == "503":
            self._send(503, b"", {}, body)
        elif fault == "page":
            self._send(200, b"<p>Back soon</p>", {"ETag": '"page"'}, body)
        else:
            self._send_file(body, fault)

    def _send_file(self, body: bool, fault: str | None) -> None:
        content = (self.server.folder / self.path.lstrip("/")).read_bytes()
        headers = dict(self.server.headers)
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        status, part = 200, content
        if self.server.ranges:
            headers["Accept-Ranges"] = "bytes"
        if asked and self.server.ranges:
            start, stop = int(asked[1]), int(asked[2] or len(content) - 1) + 1
            status, part = 206, content[start:stop]
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        if self.server.empty_heads and not body:
            headers["Content-Length"] = "0"
        self._send(status, part, headers, body, fault)

    def _send(
        self,
        status: int,
        content: bytes,
        headers: dict[str, str],
        body: bool,
        fault: str | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if not body:
            return
        self.wfile.write(content[: len(content) // 2] if fault else content)
        if fault == "stall":
            self.server.closing.wait()
        self.close_connection = fault is not None
