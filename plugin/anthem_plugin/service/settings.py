"""Settings of the service and their defaults; imports nothing that needs the extra `serve`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServiceSettings:
    """Settings of the service.

    The default of `max_bytes` is large enough for `max_documents` texts of `max_characters` in almost any script.

    Attributes:
        api_keys: Keys that callers may present; if there are none, no key is required.
        max_concurrency: Requests that are processed at the same time.
        timeout_seconds: Time to read and answer one request.
        query_cache_size: Encoded queries that are kept, in at most 16 MB for each kind of encoding.
        max_documents: Documents in one request.
        max_characters: Characters of one text.
        max_bytes: Bytes of one request body.
    """

    api_keys: tuple[str, ...] = ()
    max_concurrency: int = 32
    timeout_seconds: float = 30.0
    query_cache_size: int = 1024
    max_documents: int = 1_000
    max_characters: int = 10_000
    max_bytes: int = 32 * 2**20
