"""A Hugging Face hub on loopback: as much of it as `datasets` needs to read a data set."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

Answer = tuple[int, bytes, dict[str, str]]
_ADDRESS = re.compile(
    r"(/api)?/datasets/(?P<id>[\w-]+/[\w-]+)"
    r"(/(?P<what>resolve|revision|tree|paths-info)/(?P<revision>[^/]+)(/(?P<file>.+))?)?"
)


def commit(revision: str) -> str:
    """What a branch or tag stands for."""
    return hashlib.sha1(revision.encode()).hexdigest()


class HubServer(ThreadingHTTPServer):
    """Serves folders as revisions of data sets.

    Args:
        folders: by id and by revision.

    Attributes:
        refusal: status and headers in answer to an unknown id.
        asked: method and path of every request.
        num_answers: how many requests it answers before it hangs up on the others.
    """

    daemon_threads = True

    def __init__(self, folders: Mapping[str, Mapping[str, Path]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folders = folders
        self.refusal: tuple[int, dict[str, str]] = 404, {"X-Error-Code": "RepoNotFound"}
        self.asked: list[str] = []
        self.num_answers = sys.maxsize
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        """For HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.server_port}"

    def close(self) -> None:
        """Be gone."""
        self.shutdown()
        self.server_close()

    def answer(self, path: str, body: bytes) -> Answer:
        """Status, content and headers."""
        address = _ADDRESS.fullmatch(unquote(urlsplit(path).path))
        if address is None:  # nothing about a data set: clients ask the hub for more
            return 404, b"", {}
        if address["id"] not in self.folders:
            return self.refusal[0], b"", self.refusal[1]
        asked, file = address["revision"] or "main", address["file"] or ""
        folders = self.folders[address["id"]]
        revision = next((name for name in folders if asked in (name, commit(name))), None)
        if revision is None:
            return 404, b"", {"X-Error-Code": "RevisionNotFound"}
        folder = folders[revision]
        if address["what"] == "tree":
            pattern = "**/*" if "recursive=true" in path.lower() else "*"
            return _entries(folder, sorted((folder / file).glob(pattern)))
        if address["what"] == "paths-info":
            return _entries(folder, [folder / name for name in parse_qs(body.decode())["paths"]])
        if address["what"] != "resolve":
            return _json({"id": address["id"], "sha": commit(revision)})
        marks = {"X-Repo-Commit": commit(revision)}
        if not (folder / file).is_file():
            return 404, b"", {**marks, "X-Error-Code": "EntryNotFound"}
        return 200, (folder / file).read_bytes(), {**marks, "ETag": f'"{_digest(folder / file)}"'}


def _digest(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


def _entries(folder: Path, entries: list[Path]) -> Answer:
    """Files and folders as the hub describes them; what does not exist is left out."""
    listed = []
    for entry in filter(Path.exists, entries):
        path = entry.relative_to(folder).as_posix()
        if entry.is_dir():
            listed.append({"type": "directory", "path": path, "oid": commit(path)})
        else:
            size = entry.stat().st_size
            listed.append({"type": "file", "path": path, "oid": _digest(entry), "size": size})
    return _json(listed)


def _json(content: object) -> Answer:
    return 200, json.dumps(content).encode(), {"Content-Type": "application/json"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *args: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        self.server.num_answers -= 1
        if self.server.num_answers < 0:
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, content, headers = self.server.answer(self.path, body)
        headers["Accept-Ranges"] = "bytes"
        part = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if status == 200 and part:
            whole, start = len(content), int(part[1])
            content = content[start : int(part[2]) + 1]
            headers["Content-Range"] = f"bytes {start}-{start + len(content) - 1}/{whole}"
            status = 206
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_HEAD = do_POST = do_GET
