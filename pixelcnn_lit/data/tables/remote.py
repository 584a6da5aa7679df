"""Files on the network: only the parts that are asked for are fetched, all of one version."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import fsspec
import pyarrow as pa
from aiohttp import ClientResponse, ClientTimeout
from fsspec.implementations.http import HTTPFileSystem
from fsspec.spec import AbstractBufferedFile

# A large row group may take any time, but a server that is silent for so long has failed; seconds.
_TIMEOUT = ClientTimeout(total=None, sock_connect=30, sock_read=60)


class ChangedFileError(OSError):
    """A file is no longer the one that the run began with: its parts must not be mixed."""


@dataclass(frozen=True)
class RemoteFile:
    """A file at an address, in the version that is met first.

    Args:
        url: its address.

    Attributes:
        marks: what the server said that tells versions apart: size, entity tag, time of change.
    """

    url: str
    marks: dict[str, str] = field(default_factory=dict, init=False)

    def open(self) -> AbstractBufferedFile | pa.NativeFile:
        """The file, read part by part; fetched whole from servers that do not send parts.

        Raises:
            ChangedFileError: now or while reading, if another version is there than before.
            OSError: if it cannot be reached.
        """
        http = self.url.startswith(("http://", "https://"))
        options = {"client_kwargs": {"timeout": _TIMEOUT}} if http else {}
        system, name = fsspec.core.url_to_fs(self.url, **options)
        # Parquet says at once which bytes it wants: reading ahead would fetch others.
        if not isinstance(system, HTTPFileSystem):
            stream = system.open(name, "rb", cache_type="none")
            assert isinstance(stream, AbstractBufferedFile)
            self._check({"size": str(stream.size)})
            return stream
        stream = system.open(name, "rb", cache_type="none", raise_for_status=self._check_answer)
        assert isinstance(stream, AbstractBufferedFile)
        return stream if _serves_parts(stream) else self._fetched(system, name)

    def _fetched(self, system: HTTPFileSystem, name: str) -> pa.NativeFile:
        """The whole file, on disk for as long as it is open."""
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / "whole"
            system.get_file(name, str(whole), raise_for_status=self._check_answer)
            return pa.OSFile(str(whole))

    async def _check_answer(self, response: ClientResponse) -> None:
        """Called with every answer; errors of other kinds are fsspec's to raise."""
        if response.status in (200, 206):
            self._check(_marks(response))

    def _check(self, marks: dict[str, str]) -> None:
        for name, value in marks.items():
            if (known := self.marks.setdefault(name, value)) != value:
                raise ChangedFileError(
                    f"{self.url} has changed since this run opened it: its {name} was {known} "
                    f"and is {value}"
                )


def _marks(response: ClientResponse) -> dict[str, str]:
    """The marks in an answer; one that the server leaves out says nothing."""
    headers = response.headers
    if response.status == 206:
        size = headers.get("Content-Range", "").rpartition("/")[2]
    else:  # some servers call every file empty when asked for nothing but headers
        size = headers.get("Content-Length", "") if response.method == "GET" else ""
    marks = {
        "size": size,
        "ETag": headers.get("ETag", ""),
        # where there is a tag, it alone decides: copies of a file may differ in their times
        "Last-Modified": "" if "ETag" in headers else headers.get("Last-Modified", ""),
    }
    return {name: value for name, value in marks.items() if value not in ("", "*")}


def _serves_parts(stream: AbstractBufferedFile) -> bool:
    """Whether the last bytes can be had alone."""
    try:
        stream.seek(-4, os.SEEK_END)
        stream.read(4)
    except ValueError:  # what fsspec raises when it is sent the whole file
        return False
    return True
