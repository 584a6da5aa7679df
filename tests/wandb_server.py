"""A W&B server on loopback that understands what the client sends during a run, and can fail.

It speaks the part of W&B's GraphQL, file-stream and upload protocols that `wandb.init`, `log`,
pictures, artifacts, `finish` and `wandb sync` need, and keeps what arrives.
"""

from __future__ import annotations

import base64
import gzip
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal

import yaml

KEY = "0123456789" * 4
Failure = Literal["none", "refuses", "silent", "unauthorized"]


class WandbServer:
    """Everything that one client sent.

    Attributes:
        history: rows of numbers in order.
        config: of the run, by name.
        tags: of the run.
        runs: W&B's ids of the runs that were begun.
        artifacts: what CreateArtifact asked for.
        files: contents of uploads by path.
        unknown: operations that have no answer here; there must be none at the end.
        exit_code: of the run, None while it lasts.
    """

    def __init__(self) -> None:
        self.history: list[dict[str, object]] = []
        self.config: dict[str, object] = {}
        self.tags: list[str] = []
        self.runs: list[str] = []
        self.artifacts: list[dict[str, object]] = []
        self.files: dict[str, bytes] = {}
        self.unknown: list[str] = []
        self.exit_code: int | None = None
        self.failure: Failure = "none"
        self._over = threading.Event()
        self._http = _Http(self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """For WANDB_BASE_URL."""
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """With which a client comes here, and nowhere else."""
        return {"WANDB_MODE": "online", "WANDB_API_KEY": KEY, "WANDB_BASE_URL": self.url}

    def __enter__(self) -> WandbServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        assert error is not None or not self.unknown, self.unknown

    def fail(self, failure: Failure) -> None:
        """From now on: "refuses" closes the socket, "silent" accepts but never answers."""
        self.failure = failure
        if failure == "refuses":
            self._http.socket.close()

    def wait_until_over(self) -> None:
        """What a silent server does with a request."""
        self._over.wait()

    def answer(self, operation: str, variables: dict[str, object]) -> dict[str, object]:
        """The data of a GraphQL operation."""
        project = {"id": "p", "name": "pixelcnn-lit", "entity": {"id": "e", "name": "someone"}}
        match operation:
            case "Viewer":
                return {
                    "viewer": {
                        "id": "v",
                        "entity": "someone",
                        "username": "someone",
                        "email": "",
                        "flags": "{}",
                        "teams": {"edges": []},
                    }
                }
            case "ServerFeaturesQuery":
                return {"serverInfo": {"features": []}}
            case "OrganizationCoreWeaveOrganizationID":  # of W&B's other product
                return {"entity": None}
            case "RunResumeStatus":
                return {"model": {**project, "bucket": None}}
            case "UpsertBucket":
                self._begin(variables)
                bucket = {"id": "b", "name": self.runs[-1], "displayName": "run"}
                bucket |= {"project": project, "config": "{}", "historyLineCount": 0}
                return {"upsertBucket": {"bucket": bucket, "inserted": True}}
            case "CreateRunFiles":
                names = [str(name) for name in variables["files"]]  # type: ignore[attr-defined]
                files = [{"name": n, "uploadUrl": f"{self.url}/storage/{n}"} for n in names]
                return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
            case "CreateArtifact":
                self.artifacts.append(variables["input"])  # type: ignore[arg-type]
                sequence = {"id": "s", "name": "model", "latestArtifact": None}
                artifact = {"id": "a", "state": "PENDING", "artifactSequence": sequence}
                return {"createArtifact": {"artifact": artifact}}
            case "CreateArtifactFiles":
                specs = variables["input"]["artifactFiles"]  # type: ignore[index]
                return {
                    "createArtifactFiles": {
                        "files": {"edges": [{"node": self._node(spec["name"])} for spec in specs]}
                    }
                }
            case "CreateArtifactManifest":
                return {"createArtifactManifest": {"artifactManifest": self._manifest()}}
            case "UpdateArtifactManifest":
                return {"updateArtifactManifest": {"artifactManifest": self._manifest()}}
            case "ArtifactType":  # none of that name yet
                return {"project": None}
            case "ArtifactByID":
                return {"artifact": self._committed()}
            case "CommitArtifact":
                return {"commitArtifact": {"artifact": {"id": "a", "digest": "d"}}}
        self.unknown.append(operation)
        return {}

    def stream(self, sent: dict[str, object]) -> None:
        """Takes a part of the file stream."""
        files: dict[str, dict[str, list[str]]] = sent.get("files") or {}  # type: ignore[assignment]
        for line in files.get("wandb-history.jsonl", {"content": []})["content"]:
            self.history.append(json.loads(line))
        if sent.get("complete"):
            self.exit_code = int(str(sent["exitcode"]))

    def _begin(self, variables: dict[str, object]) -> None:
        self.runs.append(str(variables.get("name")))
        if config := variables.get("config"):
            values = json.loads(str(config))
            self.config |= {name: entry["value"] for name, entry in values.items()}
        if tags := variables.get("tags"):
            self.tags = list(tags)  # type: ignore[call-overload]

    def _node(self, name: str) -> dict[str, object]:
        url = f"{self.url}/storage/artifact/{name}"
        node = {"storagePath": name, "uploadUrl": url, "uploadHeaders": []}
        return {**node, "uploadMultipartUrls": None, "artifact": {"id": "a"}}

    def _committed(self) -> dict[str, object]:
        owner = {"id": "p", "internalId": "p", "name": "p", "entity": {"name": "someone"}}
        sequence = {"__typename": "ArtifactSequence", "name": "model", "project": owner}
        kept: dict[str, object] = dict.fromkeys(("description", "metadata", "commitHash"))
        kept |= {"__typename": "Artifact", "id": "a", "artifactSequence": sequence, "tags": []}
        kept |= {"versionIndex": 0, "artifactType": {"name": "model"}, "state": "COMMITTED"}
        kept |= {"ttlDurationSeconds": -2, "ttlIsInherited": False, "historyStep": 0, "size": 1}
        kept |= {"digest": "d", "fileCount": 1, "createdAt": "2026-01-01T00:00:00Z"}
        return kept | {"updatedAt": None, "aliases": []}

    def _manifest(self) -> dict[str, object]:
        url = f"{self.url}/storage/manifest"
        return {"id": "m", "file": {"id": "f", "uploadUrl": url, "uploadHeaders": []}}


class WandbSweepServer(WandbServer):
    """Also hands out the trials of a sweep, one after the other, and then sends the agent home.

    Args:
        trials: W&B's id of the run and the options of each trial.
    """

    def __init__(self, trials: dict[str, dict[str, object]]) -> None:
        super().__init__()
        self.sweep_config = ""
        self._trials = {
            run: {name: {"value": value} for name, value in options.items()}
            for run, options in trials.items()
        }

    def answer(self, operation: str, variables: dict[str, object]) -> dict[str, object]:
        """The data of a GraphQL operation."""
        match operation:
            case "UpsertSweep":
                self.sweep_config = str(variables["config"])
                owner = {
                    "id": "p",
                    "name": "pixelcnn-lit",
                    "entity": {"id": "e", "name": "someone"},
                }
                return {"upsertSweep": {"sweep": {"name": "abc", "project": owner}}}
            case "SweepWithRuns":
                sweep = {"id": "abc", "name": "abc", "config": self.sweep_config}
                return {"project": {"sweep": {**sweep, "runs": {"edges": []}}}}
            case "CreateAgent":
                return {"createAgent": {"agent": {"id": "agent"}}}
            case "Heartbeat":
                running = json.loads(str(variables["runState"]))
                commands = [] if running else [self._next_command()]
                return {"agentHeartbeat": {"agent": {}, "commands": json.dumps(commands)}}
        return super().answer(operation, variables)

    def _next_command(self) -> dict[str, object]:
        if not self._trials:
            return {"type": "exit"}
        run = next(iter(self._trials))
        program = yaml.safe_load(self.sweep_config)["program"]
        return {"type": "run", "run_id": run, "program": program, "args": self._trials.pop(run)}


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, records: WandbServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.records = records

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: the connections of a killed client break."""


class _Handler(BaseHTTPRequestHandler):
    server: _Http

    def do_GET(self) -> None:
        self._reply({})

    def do_PUT(self) -> None:
        body = self._body()
        if self._works():
            self.server.records.files[self.path.removeprefix("/storage/")] = body
            self._reply({})

    def do_POST(self) -> None:
        body = self._body()
        if not self._works():
            return
        sent = json.loads(body)
        if self.path == "/graphql":
            operation = sent["query"].split("(")[0].split("{")[0].split()[1]
            answer = self.server.records.answer(operation, sent.get("variables") or {})
            self._reply({"data": answer})
        else:
            self.server.records.stream(sent)
            self._reply({"exitcode": None, "limits": {}})

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def _works(self) -> bool:
        records = self.server.records
        if records.failure == "silent":
            records.wait_until_over()
            return False
        if records.failure == "refuses":  # connections that were open
            self.connection.shutdown(socket.SHUT_RDWR)
            return False
        expected = "Basic " + base64.b64encode(f"api:{KEY}".encode()).decode()
        if records.failure == "unauthorized" or (
            self.path == "/graphql" and self.headers.get("Authorization") != expected
        ):
            self._reply({"errors": [{"message": "user is not logged in"}]}, 401)
            return False
        return True

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _reply(self, answer: dict[str, object], status: int = 200) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
