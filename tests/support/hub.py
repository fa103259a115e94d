"""Fake of the hub's HTTP server: listings, revisions, redirects, range requests, and failures."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NEWER = "fedcba9876543210fedcba9876543210fedcba98"


@dataclass
class FakeHub:
    """repos: {"models/org/name": {commit: {path: bytes}}}; large files (>= 1000 bytes) are served as LFS, redirected.

    cut: path -> number of bytes after which the connection is dropped, once.  dead_after: the same, but for every
    request, at that offset of the file.  lie: paths whose bytes are changed.  status: response to every request about
    a repository, instead of its files.
    """

    repos: dict[str, dict[str, dict[str, bytes]]]
    cut: dict[str, int] = field(default_factory=dict)
    dead_after: dict[str, int] = field(default_factory=dict)
    lie: set[str] = field(default_factory=set)
    status: dict[str, tuple[int, str]] = field(default_factory=dict)
    gated: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    tokens: list[tuple[str, str]] = field(default_factory=list)

    def __enter__(self) -> FakeHub:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        # Two host names of one server: the hub, and the host of large files, to which no token may be sent.
        self.url = f"http://localhost:{self.server.server_port}"
        self.cdn = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def downloads(self) -> list[tuple[str, str | None]]:
        """Return (path, Range) of every GET of a file's bytes."""
        return [(p, r) for m, p, r in self.requests if m == "GET" and "/api/" not in p]


def listed(path: str, content: bytes) -> dict:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry = {"type": "file", "path": path, "rfilename": path, "size": len(content), "oid": blob, "blobId": blob}
    if len(content) >= 1000:
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "sha256": digest, "size": len(content), "pointerSize": 130}
    return entry


def entries(content: dict[str, bytes]) -> list[dict]:
    """The files and folders of a repository."""
    folders = {str(parent) for path in content for parent in PurePosixPath(path).parents} - {"."}
    found = [{"type": "directory", "path": f, "oid": hashlib.sha1(f.encode()).hexdigest(), "size": 0} for f in folders]
    return [*found, *(listed(p, c) for p, c in content.items())]


def is_below(path: str, folder: str, is_flat: bool) -> bool:
    rest = path.removeprefix(f"{folder}/") if folder else path
    return (not folder or rest != path) and not (is_flat and "/" in rest)


def _handler(hub: FakeHub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.answer()

        def do_GET(self):
            self.answer()

        def do_POST(self):
            self.asked = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            self.answer()

        def answer(self):
            address = urlsplit(self.path)
            path, query = unquote(address.path), parse_qs(address.query)
            hub.requests.append((self.command, path, self.headers.get("Range")))
            if token := self.headers.get("Authorization"):
                hub.tokens.append((path, token))
            if match := re.fullmatch(
                r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+))?(?:/(.*))?", path
            ):
                kind, name, what, revision, below = match.groups()
                is_flat = query.get("recursive", ["false"])[0].lower() in ("false", "0")
                self.about(f"{kind}/{name}", what, revision or "main", below or "", is_flat)
            elif match := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                dataset, name, revision, file = match.groups()
                self.resolve(f"{'datasets' if dataset else 'models'}/{name}", revision, file)
            elif match := re.fullmatch(r"/cdn/([^/]+/[^/]+/[^/]+)/([^/]+)/(.+)", path):
                repo, commit, file = match.groups()
                self.bytes_of(file, hub.repos[repo][commit][file], {})
            else:
                self.fail(404, "")

        def refused(self, repo: str) -> bool:
            if repo in hub.status:
                self.fail(*hub.status[repo])
            elif repo in hub.gated and self.headers.get("Authorization") != f"Bearer {hub.gated[repo]}":
                self.fail(401, "GatedRepo")
            elif repo not in hub.repos:
                self.fail(401, "RepoNotFound")
            else:
                return False
            return True

        def commit(self, repo: str, revision: str) -> str | None:
            commits = hub.repos[repo]
            return list(commits)[-1] if revision == "main" else revision if revision in commits else None

        def about(self, repo: str, what: str | None, revision: str, below: str, is_flat: bool):
            if self.refused(repo):
                return
            commit = self.commit(repo, revision)
            if commit is None:
                self.fail(404, "RevisionNotFound")
                return
            content = hub.repos[repo][commit]
            if what == "paths-info":
                self.json([e for e in entries(content) if e["path"] in self.wanted_paths()])
                return
            files = [listed(p, c) for p, c in content.items()]
            if what == "tree" and (below or is_flat):
                files = [e for e in entries(content) if is_below(e["path"], below, is_flat)]
            info = {"id": repo.split("/", 1)[1], "sha": commit, "siblings": files, "private": False, "tags": []}
            self.json(files if what == "tree" else info)

        def wanted_paths(self) -> list[str]:
            sent = self.asked
            return json.loads(sent)["paths"] if sent.startswith("{") else parse_qs(sent).get("paths", [])

        def json(self, content):
            self.send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

        def resolve(self, repo: str, revision: str, file: str):
            if self.refused(repo):
                return
            commit = self.commit(repo, revision)
            content = hub.repos[repo].get(commit or "", {}).get(file)
            if content is None:
                self.fail(404, "EntryNotFound")
                return
            entry = listed(file, content)
            headers = {"X-Repo-Commit": commit, "ETag": f'"{entry["oid"]}"'}
            if "lfs" not in entry:
                self.bytes_of(file, content, headers)
                return
            headers |= {
                "X-Linked-ETag": f'"{entry["lfs"]["oid"]}"',
                "X-Linked-Size": str(len(content)),
                "Location": f"{hub.cdn}/cdn/{repo}/{commit}/{file}",
            }
            self.send(302, b"", headers)

        def bytes_of(self, file: str, content: bytes, headers: dict):
            if file in hub.lie:
                content = content[:-1] + bytes([content[-1] ^ 1])
            start = int(match[1]) if (match := re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")) else 0
            status = 206 if start else 200
            if start:
                headers = {**headers, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            drop = hub.cut.pop(file, None) if self.command == "GET" else None
            if file in hub.dead_after:
                drop = max(0, hub.dead_after[file] - start)
            self.send(status, content[start:], headers, drop=drop)

        def send(self, status: int, body: bytes, headers: dict, drop: int | None = None):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body if drop is None else body[:drop])
            if drop is not None:
                self.wfile.flush()
                self.close_connection = True

        def fail(self, status: int, code: str):
            headers = {"X-Error-Code": code, "X-Error-Message": code or "trouble"} if code else {}
            self.send(status, b"{}", headers)

    return Handler
