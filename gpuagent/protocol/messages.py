"""Messages between the web side and the agents: typed, tagged, one golden file each.

Byte strings (keys) travel as base64 text. `fence` grows by one with every attempt of a job;
`seq` grows by one with every report of an attempt, and what is old is dropped.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import ClassVar

from gpuagent.protocol.taxonomy import Architecture, AssetKind, FileKind

LEASE_SECONDS = 15.0


class Message:
    """Base of tagged messages."""

    type: ClassVar[str]

    def to_wire(self) -> dict[str, object]:
        """Plain JSON values with the message's tag."""
        return {"type": self.type, **asdict(self)}  # type: ignore[call-overload]  # every subclass is a dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFileRef:
    """One weights or config file of a model version: where to get it and what it must be.

    `url` is `file://…` where the store is a folder the agent can read, else HTTP(S).
    """

    path: str
    sha256: str
    size_bytes: int
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """A model version: `digest` is over the sorted list of its files' paths and hashes.

    `trigger_words`: of an embedding the one word that calls it.
    """

    version_id: str
    name: str
    digest: str
    architecture: Architecture
    kind: AssetKind
    files: tuple[ModelFileRef, ...]
    trigger_words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadTarget:
    """Where one sealed file of one picture goes, and the data key to seal it with.

    Sealing context: `organization`, `artifact_id`, kind = `kind`.
    """

    index: int
    kind: FileKind
    artifact_id: str
    url: str
    data_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRef:
    """A starting picture: a sealed envelope (kind `input`), its key, and its plaintext hash."""

    sha256: str
    artifact_id: str
    url: str
    data_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment(Message):
    """All an agent needs for one attempt; answered to a claim, never sent through the broker.

    `recipe` is what `parse_recipe` reads. `done` lists picture indexes that an earlier attempt
    already stored. `preview_key` seals previews (context kind `preview`, object = attempt id).
    `adapters` are those that the recipe names, as far as the library still has them.
    `lease_seconds` is how long the attempt is the agent's after each heartbeat that names it.
    `may_batch`: it may be made in one batch with others (see `gpuagent.protocol.batching`).
    """

    type: ClassVar[str] = "assignment"
    attempt_id: str
    job_id: str
    organization: str
    fence: int
    recipe: dict[str, object]
    model: ModelRef
    targets: tuple[UploadTarget, ...]
    preview_key: str
    inputs: tuple[InputRef, ...] = ()
    adapters: tuple[ModelRef, ...] = ()
    done: tuple[int, ...] = ()
    lease_seconds: float = LEASE_SECONDS
    may_batch: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim(Message):
    """The agent asks for the work of an attempt."""

    type: ClassVar[str] = "attempt.claim"
    fence: int
    boot_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted(Message):
    """The weights are resident and denoising begins."""

    type: ClassVar[str] = "attempt.started"
    attempt_id: str
    fence: int
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptProgress(Message):
    """Step `step` of `steps` of picture `index` of `count` is done."""

    type: ClassVar[str] = "attempt.progress"
    attempt_id: str
    fence: int
    seq: int
    index: int
    count: int
    step: int
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptCancel(Message):
    """Stop this attempt within one step."""

    type: ClassVar[str] = "attempt.cancel"
    attempt_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptYield(Message):
    """Finish the picture in hand, then hand back the rest: somebody more urgent waits."""

    type: ClassVar[str] = "attempt.yield"
    attempt_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file that now lies sealed in the store; sizes in bytes, sides in pixels."""

    artifact_id: str
    kind: FileKind
    sha256: str
    size_bytes: int
    sealed_bytes: int
    media_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputCommit(Message):
    """Picture `index` is stored; `manifest` is what `gpuagent.protocol.manifest` builds."""

    type: ClassVar[str] = "output.commit"
    fence: int
    index: int
    manifest: dict[str, object]
    files: tuple[StoredFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptError:
    """Why an attempt failed: a code of `gpuagent.protocol.failures` and data without content."""

    code: str
    data: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFinish(Message):
    """The attempt is over; `status` is `succeeded`, `failed` or `canceled`; timings in seconds.

    `canceled` with the code `agent.yielded`: handed back between two pictures, as it was asked to.
    """

    type: ClassVar[str] = "attempt.finish"
    fence: int
    status: str
    error: AttemptError | None = None
    timings: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Join(Message):
    """A machine asks to become an agent; its join token is in the `Authorization` header.

    `name` and `labels` are wishes: the name may be taken, and the token adds labels of its own.
    """

    type: ClassVar[str] = "agent.join"
    name: str = ""
    device: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined(Message):
    """The new agent: its own token, told this once, and the one queue it reads.

    `redis_url` is the Redis it connects to; none: its own configuration says.
    """

    type: ClassVar[str] = "agent.joined"
    agent_id: str
    name: str
    token: str
    namespace: str
    redis_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueAccess(Message):
    """The address of the Redis that holds the agent's queue, with the agent's own password."""

    type: ClassVar[str] = "agent.queue"
    redis_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Register(Message):
    """A started agent introduces itself; `boot_id` is new at every start.

    `gpu_class` groups machines of one kind. `labels` count at its first registration only:
    afterwards they are the operators'.
    """

    type: ClassVar[str] = "agent.register"
    boot_id: str
    fingerprint: dict[str, object]
    device: str
    memory_bytes: int
    gpu_class: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldAttempt:
    """An attempt the agent believes to hold."""

    attempt_id: str
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(Message):
    """Every few seconds: I live, these models are warm, these attempts are mine.

    `ready` is true once the first warm-up has finished; `leaving` once nothing more is taken.
    `sick_code` says why the agent took itself out, and is empty while it is well. `telemetry`:
    `temperature_c`, `power_w`, `utilization` (0 to 1), `memory_used_bytes`, `throttled` (reasons),
    `batch_limit` (pictures of different jobs that it makes at once);
    `residents`: `digest`, `component`, `bytes`, `place` (`gpu`, `host`, `disk`), and `name`.
    """

    type: ClassVar[str] = "agent.heartbeat"
    boot_id: str
    ready: bool
    warm: tuple[str, ...]
    attempts: tuple[HeldAttempt, ...]
    leaving: bool = False
    sick_code: str = ""
    telemetry: dict[str, object] = field(default_factory=dict)
    residents: tuple[dict[str, object], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatReply(Message):
    """`lost` attempts must stop without writing; `cancel` ones stop and report it; those of
    `yields` are handed back after the picture in hand.

    `preload` names the models to make warm, most wanted first. `known` is false if the web side
    does not know this boot: register again.
    """

    type: ClassVar[str] = "agent.heartbeat_reply"
    known: bool
    lost: tuple[str, ...]
    cancel: tuple[str, ...]
    yields: tuple[str, ...] = ()
    preload: tuple[ModelRef, ...] = ()
