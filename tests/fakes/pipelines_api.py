"""The API of Kubeflow Pipelines, over HTTP, with runs as a real server (2.0.5) answered for them
(pipeline_runs.json).
"""

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlparse

RECORDED = Path(__file__).with_name("pipeline_runs.json")


class Pipelines:
    """What the server has; `started` and `terminated` are what it was asked to do.

    Attributes:
        profile: namespace that every request has to be about, where there are profiles.
        token: by which people are known there.
        failures: statuses with which the next requests are answered.
        page: what a proxy answers to every request in its stead.
        requests: what was asked, as `GET /apis/…`.
    """

    def __init__(self, profile=None, token=None):
        self.runs = json.loads(RECORDED.read_text())
        self.started, self.terminated = [], []
        self.profile, self.token = profile, token
        self.failures, self.requests = [], []
        self.page = None

    def answer(self, method, path, query, body, authorization=None):
        """Status and content of the answer to a request."""
        self.requests.append(f"{method} {path}")
        if self.failures:
            return self.failures.pop(0), {"error": "as told"}
        if path.endswith("/healthz"):
            return 200, {"multi_user": bool(self.profile)}
        return self._refusal(method, path, query, body, authorization) or self._answer(
            method, path, query, body
        )

    def _refusal(self, method, path, query, body, authorization):
        """What a server with profiles, or one without, does not take."""
        if self.profile and authorization != f"Bearer {self.token}":
            return 401, {"error": "there is no user identity header"}
        named = query.get("namespace", [""])[0] or (body or {}).get("namespace") or ""
        is_list = path.endswith(("/runs", "/experiments")) and method == "GET"
        if is_list and named != (self.profile or ""):
            return 400, {"error": f"the namespace is {named!r}, expected {self.profile or ''!r}"}
        return None

    def _answer(self, method, path, query, body):
        if path.endswith("/runs") and method == "POST":
            self.started.append(body)
            return 200, {"run_id": "new", "display_name": body["display_name"]}
        if path.endswith("/runs"):
            wanted = (
                json.loads(unquote(query["filter"][0]))["predicates"][0]["stringValue"]
                if "filter" in query
                else None
            )
            found = [run for run in self.runs.values() if wanted in (None, run["display_name"])]
            found.sort(key=lambda run: run["created_at"], reverse=True)
            start, size = int(query.get("page_token", ["0"])[0] or 0), int(query.get("page_size", ["10"])[0])
            rest = {"next_page_token": str(start + size)} if start + size < len(found) else {}
            return 200, {"runs": found[start : start + size]} | rest
        if found := re.search(r"/runs/([^/:]+):terminate$", path):
            self.terminated.append(found[1])
            return 200, {}
        if found := re.search(r"/runs/([^/:]+)$", path):
            run = next((run for run in self.runs.values() if run["run_id"] == found[1]), None)
            return (200, run) if run else (404, {"error": f"run {found[1]} not found"})
        return 200, {"experiment_id": "e", "display_name": "study"}


@contextmanager
def serving(pipelines):
    """The server's address."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self):
            parts = urlparse(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            query, authorization = parse_qs(parts.query), self.headers.get("Authorization")
            status, content = pipelines.answer(self.command, parts.path, query, body, authorization)
            self.send_response(200 if pipelines.page else status)
            self.send_header("Content-Type", "text/html" if pipelines.page else "application/json")
            self.end_headers()
            self.wfile.write((pipelines.page or json.dumps(content)).encode())

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
