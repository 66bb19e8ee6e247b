"""What whoever runs the service decides, and what holds where nothing is said."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServiceSettings:
    """What whoever runs the service decides.

    Keys that callers must show, requests at once, seconds for one, encoded queries that are kept; of one request the
    documents, the characters of each text and the bytes that it may have, by default enough for all of these at once
    in almost any script.
    """

    keys: tuple[str, ...] = ()
    concurrency: int = 32
    timeout: float = 30.0
    cache: int = 1024
    documents: int = 1_000
    characters: int = 10_000
    bytes: int = 32 * 2**20
