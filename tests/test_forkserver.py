"""A command from the fork server is the command: same words, files, status and environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import forkserver
import pytest

TELL = """
import atexit, json, os, sys, threading
import __main__

def parent(process):
    [line] = [l for l in open(f"/proc/{process}/status") if l.startswith("PPid")]
    return int(line.split()[1])

atexit.register(lambda: print("at exit", flush=True))
print(json.dumps({
    "arguments": sys.argv,
    "main": [__name__, sys.modules["__main__"] is not None, str(__main__.__spec__)],
    "cwd": os.getcwd(),
    "first of the path": sys.path[0],
    "environment": dict(sorted(os.environ.items())),
    "stdin": sys.stdin.read(),
    "threads": threading.active_count(),
    "session": os.getsid(0) == os.getpid(),
}))
print("an error", file=sys.stderr)
if sys.argv[1] == "raise":
    raise KeyError("a bug")
if sys.argv[1] == "threads of the server":
    server = parent(parent(os.getpid()))
    tasks = os.listdir(f"/proc/{server}/task")
    print([open(f"/proc/{server}/task/{task}/comm").read().strip() for task in tasks])
sys.exit(int(sys.argv[1]) if sys.argv[1].isdigit() else 0)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    script = tmp_path / "tell.py"
    script.write_text(TELL)
    return script


def fresh(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, stdin=subprocess.DEVNULL,
        start_new_session=True, env=os.environ,
    )  # fmt: skip


@pytest.mark.parametrize("status", ["0", "3", "raise"])
def test_a_script_finds_what_python_would_give_it(
    status: str, script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_NEW", "variable")
    monkeypatch.delenv("PATH")
    forked = forkserver.run(str(script), status, "and more", cwd=tmp_path)
    plain = fresh(str(script), status, "and more", cwd=tmp_path)
    assert forked.returncode == plain.returncode
    assert forked.stdout == plain.stdout
    assert forked.stdout.endswith("at exit\n")
    first, last = plain.stderr.splitlines()[0], plain.stderr.splitlines()[-1]
    assert forked.stderr.splitlines()[0] == first == "an error"
    assert forked.stderr.splitlines()[-1] == last


def test_the_server_has_started_no_thread_whose_locks_a_command_could_inherit(
    script: Path, tmp_path: Path
) -> None:
    said = forkserver.run(str(script), "threads of the server", cwd=tmp_path).stdout
    names = said.splitlines()[-2].strip("[]").replace("'", "").split(", ")
    assert sorted(names)[1:] in ([], ["python"])  # jemalloc's takes care of forks
    assert set(names) <= {"jemalloc_bg_thd", names[-1], names[0]}


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_signal_ends_a_command_with_the_status_of_the_signal(
    signum: signal.Signals, tmp_path: Path
) -> None:
    script = tmp_path / "wait.py"
    script.write_text(
        "import pathlib, signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"pathlib.Path('{tmp_path}/ready').touch()\ntime.sleep(200)\n"
    )
    command = forkserver.start(str(script))
    while not (tmp_path / "ready").exists():
        assert command.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        command.wait(timeout=0.1)
    command.send_signal(signum)
    assert command.wait(timeout=60) == -signum
    assert command.poll() == -signum
    command.kill()  # nobody


def test_a_variable_that_is_read_on_import_is_read(tmp_path: Path) -> None:
    script = tmp_path / "home.py"
    script.write_text("from huggingface_hub import constants\nprint(constants.ENDPOINT)\n")
    said = forkserver.run(str(script), env=os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert said.stdout == "http://127.0.0.1:9\n"
    assert forkserver.run(str(script)).stdout != said.stdout


def test_a_refusal_is_the_same_line(tmp_path: Path) -> None:
    words = ("-m", "pixelcnn_lit", "train", "trainer=cpu", f"run_dir={tmp_path}/run", "seed=-1")
    forked, plain = forkserver.run(*words, cwd=tmp_path), fresh(*words, cwd=tmp_path)
    assert (forked.returncode, forked.stdout, forked.stderr) == (
        plain.returncode, plain.stdout, plain.stderr,
    )  # fmt: skip
    assert forked.returncode == 2
    assert forked.stderr.startswith("error: seed=-1")
