"""A proxy before an HTTP server that fails as networks and busy servers do, by a seeded schedule."""

import contextlib
import random
import socket
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STORE_FAULTS = ("closed", "500", "503", "slow down", "cut", "flipped", "lost answer", "stale list")
TRACKING_FAULTS = ("closed", "503", "lost answer", "late", "queued")
LATE_SECONDS = 2.0
_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_ANSWERED = ("Content-Type", "Content-Length", "ETag", "Last-Modified")
_PASSED_ON = ("Content-Type", "Content-MD5", "Authorization", "Content-Encoding", "Host")


class FaultyProxy:
    """Passes requests on to a server, and fails some of them.

    Attributes:
        uri: its address.
        share: of the requests that fail; 0 for none.
        faults: that it chooses from.
        failed: how often by the kind of fault.
    """

    def __init__(
        self, server: str, generator: random.Random, share: float, faults: Sequence[str] = STORE_FAULTS
    ):
        self.share, self.faults, self.failed = share, faults, Counter[str]()
        self._server, self._generator, self._lock = server, generator, threading.Lock()
        self._lists: dict[str, bytes] = {}
        self._busy = 0
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.uri = f"http://127.0.0.1:{self._http.server_address[1]}"

    @contextlib.contextmanager
    def running(self) -> Iterator["FaultyProxy"]:
        """Answers within the block."""
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            thread.join()
            self._http.server_close()

    def settle(self) -> None:
        """Wait until all requests that were made are answered, also those whose clients have given up."""
        while self._busy:
            time.sleep(0.02)

    @contextlib.contextmanager
    def _under_way(self) -> Iterator[None]:
        with self._lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    def _fault(self, method: str, is_list: bool) -> str | None:
        with self._lock:
            if self._generator.random() >= self.share:
                return None
            fault = self._generator.choice(self.faults)
            possible = {
                "stale list": is_list,
                "cut": method == "GET",
                "flipped": method == "GET" and not is_list,
            }
            if not possible.get(fault, True):
                fault = "closed"
            self.failed[fault] += 1
            return fault

    def _flipped(self, body: bytes) -> bytes:
        with self._lock:
            place, bit = self._generator.randrange(len(body)), self._generator.randrange(8)
        return body[:place] + bytes([body[place] ^ 1 << bit]) + body[place + 1 :]

    def _handler(self) -> type[BaseHTTPRequestHandler]:  # noqa: C901  # one branch a fault
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Says nothing."""

            def _serve(self) -> None:
                with proxy._under_way():
                    self._serve_one()

            def _serve_one(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fault = proxy._fault(self.command, "list-type" in self.path)
                if fault == "closed":
                    self._hang_up()
                elif fault in ("500", "503"):
                    self._answer(int(fault), {}, b"")
                elif fault == "slow down":
                    self._answer(503, {"Retry-After": "0", "Content-Type": "application/xml"}, _SLOW_DOWN)
                else:
                    self._pass_on(content, fault)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = do_PATCH = _serve  # noqa: N815

            def _pass_on(self, content: bytes, fault: str | None) -> None:
                if fault == "queued":
                    time.sleep(LATE_SECONDS)
                status, headers, body = proxy._ask(self.command, self.path, dict(self.headers), content)
                if "list-type" in self.path:
                    stale = proxy._lists.get(self.path)
                    proxy._lists[self.path] = body
                    body = stale if fault == "stale list" and stale else body
                if fault == "late":
                    time.sleep(LATE_SECONDS)
                if fault == "lost answer":
                    self._hang_up()
                elif fault == "cut" and body:
                    self._answer(status, headers, body, len(body) // 2)
                elif fault == "flipped" and body and status == 200:
                    self._answer(status, headers, proxy._flipped(body))
                else:
                    self._answer(status, headers, body)

            def _answer(
                self, status: int, headers: dict[str, str], body: bytes, sent: int | None = None
            ) -> None:
                self.send_response(status)
                length = {"Content-Length": headers.get("Content-Length", "0")}
                for name, value in {
                    **headers,
                    **(length if self.command == "HEAD" else {"Content-Length": str(len(body))}),
                }.items():
                    self.send_header(name, value)
                with contextlib.suppress(ConnectionError):  # who asked may have given up
                    self.end_headers()
                    self.wfile.write(body[:sent])
                if sent is not None:
                    self._hang_up()

            def _hang_up(self) -> None:
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)

        return Handler

    def _ask(
        self, method: str, path: str, headers: dict[str, str], content: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        plain = {"Content-Type": "application/octet-stream"}  # urllib would call it a form
        own = {name: value for name, value in headers.items() if name in _PASSED_ON or _is_amazon(name)}
        passed = plain | own
        request = urllib.request.Request(f"{self._server}{path}", content or None, passed, method=method)
        try:
            answer = urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            kept = {name: value for name, value in answer.headers.items() if name in _ANSWERED}
            return answer.status, kept, answer.read()


def _is_amazon(name: str) -> bool:
    return name.lower().startswith("x-amz")
