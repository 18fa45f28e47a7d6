"""A web server on 127.0.0.1 that misbehaves as told, for tests of transfers."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Fault:
    """What happens to one request instead of the right answer.

    Attributes:
        status: answer with this one; 0: answer rightly, but break off.
        headers: more headers of the answer.
        drop_after: bytes of the body after which the connection is closed.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    drop_after: int | None = None


@dataclass
class Site:
    """What a server serves, how, and what it was asked.

    Attributes:
        files: path (without query) -> content.
        pages: path with query -> (content, headers); they come before `files`.
        faults: each is spent on one GET, in order.
        ranges: whether parts are served.
        lengths: whether `Content-Length` is told (else the connection's end is the file's).
        asked: (path with query, `Range` header or "") of each GET.
        before_answer: called with the path before each answer.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    pages: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    ranges: bool = True
    lengths: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)
    before_answer: Callable[[str], None] = lambda path: None


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    """Serve until the block is left; all connections are closed then."""

    class Handler(_Handler):
        pass

    Handler.site = site
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield site
    finally:
        server.shutdown()
        thread.join(timeout=10)
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    site: Site
    timeout = 10

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self.site.asked.append((self.path, self.headers.get("Range", "")))
        self.site.before_answer(self.path)
        fault = self.site.faults.pop(0) if self.site.faults else None
        if fault is not None and fault.status:
            self.send_response(fault.status)
            for name, value in fault.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._answer(body=True, drop_after=None if fault is None else fault.drop_after)

    def _answer(self, *, body: bool, drop_after: int | None = None) -> None:
        path = self.path.split("?")[0]
        content, headers = self.site.pages.get(self.path, (self.site.files.get(path), {}))
        if content is None:
            self.send_error(404)
            return
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        asked = self.headers.get("Range")
        status, begin, end = 200, 0, len(content)
        if asked and self.site.ranges and self.headers.get("If-Range", tag) == tag:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last or end) + bool(last), end)
            status = 206 if begin < len(content) else 416
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(content)}")
        if self.site.lengths:
            self.send_header("Content-Length", str(end - begin if status != 416 else 0))
        self.send_header("Accept-Ranges", "bytes" if self.site.ranges else "none")
        self.send_header("ETag", tag)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if body and status != 416:
            self.wfile.write(content[begin:end][:drop_after])
