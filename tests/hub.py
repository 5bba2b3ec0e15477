"""A hub of models on this machine, for tests: what a push of small files needs of the Hugging Face hub's protocol."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub(ThreadingHTTPServer):
    """What it keeps: repositories with their files, and what it was told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.commits = 0
        self.tokens: set[str] = set()
        self.refuses_commits = False

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """One request."""

    server: Hub

    def do_GET(self) -> None:
        self._answer(b"")

    do_HEAD = do_GET  # noqa: N815  the name that http.server asks for

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"] or 0)))

    def _answer(self, sent: bytes) -> None:
        self.server.tokens.add(self.headers.get("Authorization", ""))
        path = self.path.partition("?")[0]
        parts = path.strip("/").split("/")
        if path == "/api/validate-yaml":  # of a card
            return self._say({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(sent)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else f"me/{asked['name']}"
            self.server.repositories[name] = {".gitattributes": b""}
            self.server.private[name] = asked.get("private", False) or asked.get("visibility") == "private"
            return self._say({"url": f"{self.server.address}/{name}"})
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        files = self.server.repositories.get(name)
        if files is None:
            return self._say({"error": "Repository not found"}, 404, "RepoNotFound")
        if parts[0] != "api":  # NAME/resolve/REVISION/FILE
            return self._say(files[parts[-1]])
        match parts[4] if len(parts) > 4 else "":
            case "preupload":
                asked = json.loads(sent)["files"]
                found = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]
                return self._say({"files": found})
            case "commit":
                return self._commit(files, sent)
            case "paths-info" | "tree":
                return self._say([row(path, content) for path, content in files.items()])
        return self._say({"id": name, "sha": "0" * 40, "siblings": [{"rfilename": path} for path in files]})

    def _commit(self, files: dict[str, bytes], sent: bytes) -> None:
        if self.server.refuses_commits:
            return self._say({"error": "no"}, 403)
        for line in sent.splitlines():
            each = json.loads(line)
            if each["key"] == "file":
                files[each["value"]["path"]] = base64.b64decode(each["value"]["content"])
            if each["key"] == "deletedFile":
                del files[each["value"]["path"]]
        self.server.commits += 1
        oid = f"{self.server.commits:040d}"
        return self._say({"commitUrl": f"{self.server.address}/me/x/commit/{oid}", "commitOid": oid})

    def _say(self, value: Any, status: int = 200, code: str = "") -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        headers = {"Content-Length": str(len(content)), "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        headers |= {"X-Repo-Commit": "0" * 40, "Content-Type": "application/json"}
        for name, text in (headers | ({"X-Error-Code": code} if code else {})).items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def row(path: str, content: bytes) -> dict[str, Any]:
    """A file as the hub lists it."""
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return {"type": "file", "path": path, "size": len(content), "oid": oid}


@contextmanager
def hub() -> Iterator[Hub]:
    """A hub that listens on this machine while the block runs."""
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
