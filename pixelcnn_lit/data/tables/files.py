"""Parquet files that are read in parts, all of one version: on disk, or over a network."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import fsspec
import pyarrow as pa
from aiohttp import ClientResponse, ClientTimeout
from fsspec.implementations.http import HTTPFileSystem
from fsspec.spec import AbstractBufferedFile

from pixelcnn_lit.data.tables.cache_dir import memoized
from pixelcnn_lit.messages import OptionError, one_line

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Stream = pa.NativeFile | AbstractBufferedFile

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds from one attempt to the next
# A large row group may take any time, but a server that is silent for so long has failed; seconds.
_TIMEOUT = ClientTimeout(total=None, sock_connect=30, sock_read=60)
_MAGIC = b"PAR1"  # the first and the last bytes of a parquet file


class UnreachableError(OptionError):
    """What cannot be read from the network, with all patience."""


def is_remote(address: str) -> bool:
    """Whether a path is a URL that a network serves."""
    return "://" in address and not address.startswith("file://")


class LocalFile:
    """A file on disk; its size and time of change are its version.

    Args:
        path: where it lies.
    """

    def __init__(self, path: str) -> None:
        self._path = path.removeprefix("file://")
        self._version: tuple[int, int] | None = None

    def read(self, reader: Callable[[Stream], Result]) -> Result:
        """What ``reader`` makes of the open file; the version is compared when it is done.

        Raises:
            OptionError: if the file cannot be read, or is another one than at the first reading.
        """
        try:
            self._version = self._version or self._current_version()
            try:
                with pa.OSFile(self._path) as stream:
                    return reader(stream)
            finally:  # also where another file than expected could not be understood
                if self._current_version() != self._version:
                    raise OptionError(f"{self._path} has changed since this run opened it")
        except (OSError, pa.ArrowException) as error:
            raise OptionError(f"{self._path} is no readable parquet file ({error})") from error

    def fingerprint(self, notes: Path) -> str:
        """Digest of all its bytes, 128 bits in hexadecimal.

        They are read only if path, size and time of change are new to ``notes``, a folder.
        """

        def compute() -> str:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16))
            return digest.hexdigest()

        path = Path(self._path)
        identity = f"{path.resolve()} {self._current_version()} {path.stat().st_ino}"
        return memoized(notes, identity, compute)

    def _current_version(self) -> tuple[int, int]:
        status = Path(self._path).stat()
        return status.st_size, status.st_mtime_ns


class RemoteFile:
    """A file at an address: only the parts that are asked for are fetched.

    Files on the hub are addressed by commit and never change. What a web server says of a file
    is compared with what it said first; of other addresses only the size is.

    Args:
        url: its address.
        num_retries: further attempts after the first; the wait before them doubles each time, from
            half a second up to half a minute.
    """

    def __init__(self, url: str, num_retries: int) -> None:
        self._url = url
        self._num_retries = num_retries
        self._marks: dict[str, str] = {}  # what tells versions apart: size, ETag, Last-Modified

    def read(self, reader: Callable[[Stream], Result]) -> Result:
        """What ``reader`` makes of the open file; every attempt opens it anew.

        Every exception but a refusal counts as a failure on the way: a dropped connection, a 503
        or a short answer arrive here as errors of the socket, of three HTTP libraries, as a
        missing file or as invalid parquet.

        Raises:
            OptionError: if the file is another one than at the first reading.
            UnreachableError: if every attempt fails.
        """
        wait, number = _FIRST_WAIT, 1
        while True:
            try:
                with self._open() as stream:
                    return reader(stream)
            except OptionError:
                raise
            except Exception as error:
                cause = error.__cause__ or error  # fsspec calls a 503 a missing file
                reason = f"{type(cause).__name__}: {one_line(cause)}"
                if number > self._num_retries:
                    raise UnreachableError(
                        f"reading {self._url} failed {number} times, last with {reason}; see "
                        "num_retries"
                    ) from error
                log.warning("Reading %s failed (%s): again in %.1f s", self._url, reason, wait)
            time.sleep(wait)
            wait, number = min(2 * wait, _LONGEST_WAIT), number + 1

    def fingerprint(self, notes: Path) -> str:
        """Address and marks: all that is known without fetching it; nothing to remember."""
        return repr((self._url, sorted(self._marks.items())))

    def _open(self) -> AbstractBufferedFile:
        http = self._url.startswith(("http://", "https://"))
        options = {"client_kwargs": {"timeout": _TIMEOUT}} if http else {}
        system, name = fsspec.core.url_to_fs(self._url, **options)
        check = {}
        if isinstance(system, HTTPFileSystem):
            check["raise_for_status"] = self._check_answer
            if "size" not in self._marks:  # some servers hide it from who asks for nothing else
                system.cat_file(name, 0, len(_MAGIC), **check)
            check["size"] = int(self._marks["size"])
        # Parquet says at once which bytes it wants: reading ahead would fetch others.
        stream = system.open(name, "rb", cache_type="none", **check)
        assert isinstance(stream, AbstractBufferedFile)
        self._check({"size": str(stream.size)})
        return stream

    async def _check_answer(self, response: ClientResponse) -> None:
        """Called with every answer to a request for a part, before its body is read."""
        headers = response.headers
        if response.status == 206:
            marks = {
                "size": headers.get("Content-Range", "").rpartition("/")[2],
                "ETag": headers.get("ETag", ""),
                # where there is a tag, it alone decides: copies of a file may differ in their times
                "Last-Modified": "" if "ETag" in headers else headers.get("Last-Modified", ""),
            }
            self._check({name: mark for name, mark in marks.items() if mark not in ("", "*")})
        elif response.status == 200:
            if await response.content.readexactly(len(_MAGIC)) == _MAGIC:
                raise OptionError(
                    f"{self._url}: this server sends whole files only, not parts of them; download "
                    "the file first and set data.path=FILE"
                )
            raise OSError("the server sent something else than the file")
        else:
            response.raise_for_status()

    def _check(self, marks: dict[str, str]) -> None:
        for name, mark in marks.items():
            if (known := self._marks.setdefault(name, mark)) != mark:
                raise OptionError(
                    f"{self._url} has changed since this run opened it: its {name} was {known} "
                    f"and is {mark}"
                )
