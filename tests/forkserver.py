"""Fork server: starts commands in a process that has imported everything, which takes 15 s.

A command forked from it behaves as if ``python`` ran it, with two exceptions: what its modules
would say while they are imported is not heard, and what they read from the environment at that
time is what this process was given. Where either is the point, or memory and threads of another
process must not be near, start ``python`` itself; a variable of READ_ON_IMPORT does so by itself.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

PRELOADED = (
    "datasets",
    "lightning",
    "matplotlib.backends.backend_agg",
    "sklearn.datasets",
    "torch",
    "wandb",
    *(
        f"pixelcnn_lit.{module}"
        for module in (
            *("callbacks", "data", "models", "training.run"),
            *(f"commands.{name}" for name in ("evaluate", "sample", "sweep", "train")),
        )
    ),
)
READ_ON_IMPORT = ("HF_", "HOME", "MPL", "OMP_", "PYTHON", "TORCH_", "XDG_")
"""Beginnings of names: a command with another value than the tests have gets a ``python``."""
ADDRESS = "PIXELCNN_LIT_FORKSERVER"
"""The variable that tells the processes of pytest-xdist where the server listens."""
STATUS = struct.Struct("i")


class Command:
    """A running command, with the methods of a ``subprocess.Popen`` whose output is captured."""

    def __init__(
        self,
        args: Sequence[str],
        connection: socket.socket,
        stdout: IO[str],
        stderr: IO[str],
    ) -> None:
        self.args = args
        self._connection = connection
        self._output = stdout, stderr
        self._said = "", ""
        self.returncode: int | None = None
        self.pid = self._receive()

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None as long as it runs."""
        return self._end_within(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, once it has ended."""
        if (status := self._end_within(timeout)) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it wrote to stdout and stderr, once it has ended."""
        self.wait(timeout)
        return self._said

    def send_signal(self, signum: int) -> None:
        """As ``kill`` does."""
        if self.poll() is None:
            os.kill(self.pid, signum)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _end_within(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._connection], [], [], timeout)[0]:
            self.returncode = self._receive()
            self._connection.close()
            stdout, stderr = map(_read, self._output)
            self._said = stdout, stderr
        return self.returncode

    def _receive(self) -> int:
        if len(content := self._connection.recv(STATUS.size)) < STATUS.size:
            raise RuntimeError("the fork server has ended")
        return STATUS.unpack(content)[0]


def _read(file: IO[str]) -> str:
    with file:
        file.seek(0)
        return file.read()


def start(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Command | subprocess.Popen[str]:
    """`python ARGUMENTS`, with -m MODULE or the path of a script at the beginning.

    It leads a session of its own.
    """
    env = dict(os.environ if env is None else env)
    cwd = Path.cwd() if cwd is None else cwd
    names = [name for name in env.keys() | os.environ.keys() if name.startswith(READ_ON_IMPORT)]
    if any(env.get(name) != os.environ.get(name) for name in names if name != "PYTHONPATH"):
        return subprocess.Popen(
            [sys.executable, *arguments], env=env, cwd=cwd, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address())
    stdout, stderr = (tempfile.TemporaryFile("w+") for _ in range(2))  # noqa: SIM115
    with tempfile.TemporaryFile("w+") as request:
        json.dump({"arguments": arguments, "env": env, "cwd": str(cwd)}, request)
        request.flush()
        socket.send_fds(connection, [b"."], [file.fileno() for file in (request, stdout, stderr)])
        return Command(arguments, connection, stdout, stderr)


def run(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 240,
) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS` from start to end; see ``start``."""
    return ended(start(*arguments, env=env, cwd=cwd), timeout)


def ended(
    command: Command | subprocess.Popen[str], timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Waits; a command that takes too long is killed, and what it said is shown."""
    try:
        stdout, stderr = command.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        command.kill()
        raise AssertionError(f"not over in {timeout} s: {command.communicate()}") from None
    assert command.returncode is not None
    return subprocess.CompletedProcess(command.args, command.returncode, stdout, stderr)


@cache
def address() -> str:
    """Where the server listens; begins it, unless another process of the tests has done so.

    It imports nothing before the first command.
    """
    if ADDRESS in os.environ:
        return os.environ[ADDRESS]
    folder = tempfile.mkdtemp()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"{folder}/socket")
    listening.listen()
    server = subprocess.Popen(
        [sys.executable, __file__, str(listening.fileno())],
        # a session of its own: Ctrl-C is for the tests
        pass_fds=[listening.fileno()], stdin=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    listening.close()

    def end() -> None:
        with server:
            server.terminate()
        shutil.rmtree(folder)

    atexit.register(end)
    return f"{folder}/socket"


def serve(listening: socket.socket) -> dict | None:
    """Answers until stdin is closed; returns in a forked process, with what it is to do."""
    while True:
        ready, _, _ = select.select([listening, sys.stdin], [], [])
        with suppress(ChildProcessError):  # there is none
            while os.waitpid(-1, os.WNOHANG)[0]:  # a supervisor that has done its work
                pass
        if sys.stdin in ready:
            return None
        connection, _ = listening.accept()
        _, files, _, _ = socket.recv_fds(connection, 1, 3)
        for module in PRELOADED:
            importlib.import_module(module)
        gc.freeze()  # looking through all of it in every command would copy it
        supervisor = os.fork()
        if not supervisor:
            listening.close()
            if command := os.fork():
                supervise(command, connection)
            connection.close()
            return take_place(*files)
        connection.close()
        for file in files:
            os.close(file)


def supervise(command: int, connection: socket.socket) -> None:
    """Tells its process id, and its status when it has ended."""
    connection.send(STATUS.pack(command))
    _, status = os.waitpid(command, 0)
    try:
        connection.send(STATUS.pack(os.waitstatus_to_exitcode(status)))
    finally:  # the tests may have ended
        os._exit(0)


def take_place(request_file: int, stdout: int, stderr: int) -> dict:
    """Makes this process one that was started for the command."""
    with os.fdopen(request_file) as file:
        file.seek(0)
        request = json.load(file)
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in [(null, 0), (stdout, 1), (stderr, 2)]:
        os.dup2(source, target)
        os.close(source)
    for signum in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(signum, signal.SIG_DFL)  # SIGHUP even under nohup
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    tempfile.tempdir = None
    time.tzset()
    _own_media_folder()
    return request


def _own_media_folder() -> None:
    """W&B makes a temporary folder on import, which the first process that ends would remove."""
    media = importlib.import_module("wandb.sdk.data_types._private")
    media.MEDIA_TMP._finalizer.detach()
    media.MEDIA_TMP.__init__("wandb-media")


def run_as_python(arguments: Sequence[str]) -> None:
    """What `python ARGUMENTS` does after its start."""
    path = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if arguments[0] == "-m":
        sys.path[:1] = [os.getcwd(), *path]
        sys.argv = list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[:1] = [str(Path(arguments[0]).parent), *path]
        sys.argv = list(arguments)
        runpy.run_path(arguments[0], run_name="__main__")


def end(status: object) -> None:
    """What `python` does at the end, except for freeing all that was imported: that takes 2 s."""
    if not (status is None or isinstance(status, int)):
        print(status, file=sys.stderr)
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    if (request := serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        try:
            run_as_python(request["arguments"])
        except SystemExit as exit:
            end(exit.code)
        end(None)
