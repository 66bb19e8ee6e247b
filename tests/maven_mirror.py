"""A Maven repository on the loopback address, named by `ANTHEM_MAVEN_URL`."""

import gc
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class MavenMirror(SimpleHTTPRequestHandler):
    """Serves a folder; the next `failures` requests fail."""

    failures = 0
    paths: list[str] = []  # noqa: RUF012 (each mirror has its own subclass)

    def do_GET(self):
        """Serve a file, or fail."""
        type(self).paths.append(self.path)
        if type(self).failures > 0:
            type(self).failures -= 1
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *_):
        """Log nothing."""


@contextmanager
def serve_artifact(artifact, content, folder, monkeypatch):
    """A mirror below `folder` that holds one artifact, at `file`; the download cache is empty and temporary."""
    handler = type("TestMirror", (MavenMirror,), {"paths": []})
    place = folder / "mirror" / artifact.group.replace(".", "/") / artifact.artifact / artifact.version
    place.mkdir(parents=True)
    handler.file = place / artifact.filename
    handler.file.write_bytes(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder / "mirror")))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setenv("ANTHEM_MAVEN_URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("ANTHEM_CACHE", str(folder / "cache"))
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()
    gc.collect()  # jgo does not close a response that it rejects
