"""The files of the page and the headers that they are served with."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

PAGE_PATH = "/ui"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'"  # the browser refuses to parse text as HTML, should a script ever try
)
PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # a page of one version must not run the scripts of another
}
_MEDIA_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
_START_FILE = "index.html"


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file of the page: where it is served, what it contains and what it is."""

    path: str
    content: bytes
    media_type: str


def read_page_files() -> list[PageFile]:
    """The files of the page; `index.html` is served at `/ui`, every other file below it."""
    static = files(__package__).joinpath("static")
    found = []
    for file in sorted(static.iterdir(), key=lambda file: file.name):
        media_type = _MEDIA_TYPES.get(file.name.rpartition(".")[2])
        if media_type:
            path = PAGE_PATH if file.name == _START_FILE else f"{PAGE_PATH}/{file.name}"
            found.append(PageFile(path, file.read_bytes(), media_type))
    return found
