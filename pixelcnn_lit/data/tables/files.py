"""Files that are read in parts, all of one version: on disk, or over a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import fsspec
import pyarrow as pa
from aiohttp import ClientResponse, ClientTimeout
from fsspec.implementations.http import HTTPFileSystem
from fsspec.spec import AbstractBufferedFile

from pixelcnn_lit.data.tables.digests import file_digest
from pixelcnn_lit.data.tables.retrying import with_retries
from pixelcnn_lit.messages import OptionError

Result = TypeVar("Result")
Stream = pa.NativeFile | AbstractBufferedFile

# A large row group may take any time, but a server that is silent for so long has failed; seconds.
_TIMEOUT = ClientTimeout(total=None, sock_connect=30, sock_read=60)
_MAGIC = b"PAR1"  # the first and the last bytes of a parquet file


def is_remote(address: str) -> bool:
    """Whether a path is a URL that a network serves."""
    return "://" in address and not address.startswith("file://")


class AbstractFile(ABC):
    """A parquet file, which must not change while a run reads it."""

    @abstractmethod
    def read(self, reader: Callable[[Stream], Result]) -> Result:
        """What ``reader`` makes of the open file; it may be called again.

        Raises:
            OptionError: if the file cannot be read, or is another one than at the first reading.
        """

    @abstractmethod
    def fingerprint(self, notes: Path) -> str:
        """What tells this version of the file from every other.

        Args:
            notes: folder that remembers the digests of large files.
        """


class LocalFile(AbstractFile):
    """A file on disk; its size and time of change are its version.

    Args:
        path: where it lies.
    """

    def __init__(self, path: str) -> None:
        self._path = path.removeprefix("file://")
        self._version: tuple[int, int] | None = None

    def read(self, reader: Callable[[Stream], Result]) -> Result:
        """What ``reader`` makes of it; the version is compared when it is done."""
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
        """The digest of all its bytes."""
        return file_digest(Path(self._path), notes)

    def _current_version(self) -> tuple[int, int]:
        status = Path(self._path).stat()
        return status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class RemoteFile(AbstractFile):
    """A file at an address: only the parts that are asked for are fetched.

    Files on the hub are addressed by commit and never change. What a web server says of a file
    is compared with what it said first; of other addresses only the size is.

    Args:
        url: its address.
        num_retries: patience with the network.

    Attributes:
        marks: what tells versions apart: size, entity tag, time of change.
    """

    url: str
    num_retries: int
    marks: dict[str, str] = field(default_factory=dict, init=False)

    def read(self, reader: Callable[[Stream], Result]) -> Result:
        """What ``reader`` makes of it; every attempt opens the file anew."""

        def attempt() -> Result:
            with self._open() as stream:
                return reader(stream)

        return with_retries(attempt, self.url, self.num_retries)

    def fingerprint(self, notes: Path) -> str:
        """Address and marks: all that is known without fetching it."""
        return repr((self.url, sorted(self.marks.items())))

    def _open(self) -> AbstractBufferedFile:
        http = self.url.startswith(("http://", "https://"))
        options = {"client_kwargs": {"timeout": _TIMEOUT}} if http else {}
        system, name = fsspec.core.url_to_fs(self.url, **options)
        # Parquet says at once which bytes it wants: reading ahead would fetch others.
        if not isinstance(system, HTTPFileSystem):
            stream = system.open(name, "rb", cache_type="none")
            assert isinstance(stream, AbstractBufferedFile)
            self._check({"size": str(stream.size)})
            return stream
        check = {"raise_for_status": self._check_answer}
        if "size" not in self.marks:  # some servers call every file empty that is not asked for
            system.cat_file(name, 0, len(_MAGIC), **check)
        size = int(self.marks["size"])
        stream = system.open(name, "rb", cache_type="none", size=size, **check)
        assert isinstance(stream, AbstractBufferedFile)
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
                    f"{self.url}: this server sends whole files only, not parts of them; download "
                    "the file first and set data.path=FILE"
                )
            raise OSError("the server sent something else than the file")
        else:
            response.raise_for_status()

    def _check(self, marks: dict[str, str]) -> None:
        for name, mark in marks.items():
            if (known := self.marks.setdefault(name, mark)) != mark:
                raise OptionError(
                    f"{self.url} has changed since this run opened it: its {name} was {known} "
                    f"and is {mark}"
                )
