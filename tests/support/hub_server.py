"""A Hugging Face Hub on this machine: as much of its API as presets need."""

import base64
import hashlib
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

COMMIT = "c" * 40


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        match urlsplit(self.path).path.strip("/").split("/"):
            case ["api", "models", user, name, "tree", _]:
                self._answer_tree(f"{user}/{name}")
            case ["api", "models", user, name, *revision] if revision in (
                [],
                ["revision", "main"],
                ["revision", COMMIT],
            ):
                self._find(f"{user}/{name}", {"id": f"{user}/{name}", "sha": COMMIT})
            case ["api", "models", user, name, *_] if f"{user}/{name}" in self.server.files:
                self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            case [user, name, "resolve", _, file]:
                self.server.read.add(file)
                content = self.server.files[f"{user}/{name}"][file]
                etag = hashlib.sha1(content).hexdigest()
                self._send(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})
            case _:
                self._find(None, {})

    def do_HEAD(self):
        self.do_GET()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        match urlsplit(self.path).path.strip("/").split("/"):
            case ["api", "repos", "create"]:
                request = json.loads(body)
                repository = "/".join(filter(None, (request.get("organization"), request["name"])))
                self.server.files.setdefault(repository, {})
                self._find(repository, {"url": f"http://{self.headers['Host']}/{repository}"})
            case ["api", "validate-yaml"]:
                self._send_json({})
            case ["api", "models", _, _, "preupload", "main"]:
                files = json.loads(body)["files"]
                how = {"uploadMode": "regular", "shouldIgnore": False}
                self._send_json({"files": [{"path": file["path"], **how} for file in files]})
            case ["api", "models", user, name, "commit", "main"]:
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        content = base64.b64decode(line["value"]["content"])
                        self.server.files[f"{user}/{name}"][line["value"]["path"]] = content
                url = f"http://{self.headers['Host']}/{user}/{name}/commit/{COMMIT}"
                self._send_json({"commitUrl": url, "commitOid": COMMIT})
            case _:
                self._find(None, {})

    def _answer_tree(self, repository):
        files = self.server.files.get(repository, {})
        entries = [
            {"type": "file", "path": path, "size": len(content), "oid": path}
            for path, content in files.items()
        ]
        self._find(repository, entries)

    def _find(self, repository, answer):
        if repository in self.server.files:
            self._send_json(answer)
        else:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _send_json(self, answer):
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _send(self, status, body, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def serve_hub(files):
    """Serves repositories, by name dicts of files' contents, which uploads change.

    Yields the server: `files`, `read`, the names of the files that were asked for, and `url`.
    """
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.files, server.read = files, set()
        server.url = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
