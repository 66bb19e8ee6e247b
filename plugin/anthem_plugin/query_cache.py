"""A cache of encoded queries that is bounded in memory: a table takes 1 kB for a short query, 100 kB for a long one."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import fields
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Encoded = TypeVar("Encoded")

MAX_CACHE_BYTES = 16 * 2**20
_ENTRY_BYTES = 1_000  # of the objects around the numbers of one query


class CacheInfo(NamedTuple):
    """Look-ups that found and did not find their query, the limit of entries and their number, as of `lru_cache`."""

    hits: int
    misses: int
    maxsize: int
    currsize: int


class QueryCache(Generic[Encoded]):
    """A function of a query text that remembers its most recently used results; thread-safe.

    Args:
        encode: The function; its results are None, or dataclasses whose arrays take most of the memory.
        max_entries: Number of results that are kept.
        max_bytes: Bytes that they may take together; a result that alone takes more is not kept.
    """

    def __init__(self, encode: Callable[[str], Encoded], max_entries: int, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self._encode, self._max_entries, self._max_bytes = encode, max_entries, max_bytes
        self._entries: OrderedDict[str, tuple[Encoded, int]] = OrderedDict()
        self._lock = Lock()
        self.cache_clear()

    @property
    def bytes(self) -> int:
        """Bytes of the results that are kept."""
        return self._bytes

    def __call__(self, text: str) -> Encoded:
        """Result for a text: the one that is kept, or a new one."""
        with self._lock:
            found = self._entries.get(text)
            if found is not None:
                self._entries.move_to_end(text)
                self._hits += 1
                return found[0]
            self._misses += 1
        encoded = self._encode(text)  # without the lock: other threads go on
        with self._lock:
            self._keep(text, encoded)
        return encoded

    def _keep(self, text: str, encoded: Encoded) -> None:
        size = _ENTRY_BYTES + 4 * len(text) + _array_bytes(encoded)
        if size > self._max_bytes or text in self._entries:  # another thread may have encoded the same text
            return
        self._entries[text] = (encoded, size)
        self._bytes += size
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self._bytes -= freed

    def cache_info(self) -> CacheInfo:
        """Hits, misses, the limit of entries, and their number."""
        return CacheInfo(self._hits, self._misses, self._max_entries, len(self._entries))

    def cache_clear(self) -> None:
        """Forget all results and counts."""
        with self._lock:
            self._entries.clear()
            self._bytes = self._hits = self._misses = 0


def _array_bytes(encoded: Any) -> int:  # noqa: ANN401 (any dataclass, or None)
    if encoded is None:
        return 0
    return sum(getattr(getattr(encoded, field.name), "nbytes", 0) for field in fields(encoded))
