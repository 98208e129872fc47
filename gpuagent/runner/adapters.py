"""Adapters in host memory: fetched and read before their job's turn, kept while there is room."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.cache.files import FileCache
from gpuagent.cache.residency import Residency
from gpuagent.pipelines.adapters import Adapter, Stack, load_adapter
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import AssetKind

# As files have them; a LoRA of Stable Diffusion 1.x has 10 to 150 MB. Never more than this share
# of the memory pictures are made in.
KEPT_BYTES = 1024**3
KEPT_SHARE = 16


class Adapters:
    """Reads adapters once; those used longest ago go first."""

    def __init__(self, cache: FileCache, *, memory_bytes: int) -> None:
        self._cache = cache
        self._kept: Residency[Adapter] = Residency(min(KEPT_BYTES, memory_bytes // KEPT_SHARE))

    @contextmanager
    def hold(self, refs: Sequence[ModelRef]) -> Iterator[None]:
        """Their files are not let go while this lasts."""
        with ExitStack() as held:
            for ref in refs:
                held.enter_context(self._cache.hold(ref))
            yield

    def stack(
        self,
        recipe: Recipe,
        refs: Sequence[ModelRef],
        *,
        patiently: Callable[[Callable[[], Adapter]], Adapter],
    ) -> Stack:
        """What the recipe lays over its model; may run while another attempt computes.

        Raises:
            AttemptFailedError: one is not there, or cannot be read.
        """

        def find(digest: str, kind: AssetKind) -> Adapter:
            ref = next((ref for ref in refs if (ref.digest, ref.kind) == (digest, kind)), None)
            if ref is None:
                raise AttemptFailedError(FailureCode.ADAPTER_MISSING, digest=digest[:16])
            return patiently(lambda: self._find(ref))

        return Stack(
            loras=tuple((find(use.digest, AssetKind.LORA), use.weight) for use in recipe.loras),
            embeddings=tuple(find(digest, AssetKind.EMBEDDING) for digest in recipe.embeddings),
        )

    def release(self) -> None:
        """Keep none; what an attempt has in hand stays with it."""
        self._kept.evict(self._kept.warm)

    @property
    def kept(self) -> tuple[str, ...]:
        """Digests of those in memory, most recently used last."""
        return self._kept.warm

    def _find(self, ref: ModelRef) -> Adapter:
        # By its trigger too: the same file may be registered under another word.
        key = " ".join((ref.digest, *ref.trigger_words))
        adapter = self._kept.get(key)
        if adapter is None:
            adapter = self._cache.read(ref, lambda folder: load_adapter(ref, folder))
            self._kept.offer(key, adapter, adapter.size_bytes)
        return adapter
