"""A stand-in for the Hugging Face hub and for hosts of plain files: real HTTP, invented content, faults on demand."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Fault:
    """What goes wrong with requests whose path matches.

    `page` answers with a web page and status 200, `cut_to` with a shorter body whose length is told as if it were all,
    `shifted` with the bytes beside those asked for, and says so unless `hidden`.
    """

    pattern: str
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    cut_to: int | None = None
    redirect_to: str | None = None
    page: bytes | None = None
    shifted: int = 0
    hidden: bool = False
    method: str = "GET"


@dataclass
class Repo:
    """Settings of one repository."""

    sha: str = "0" * 40
    gated: bool = False
    revisions: tuple[str, ...] = ()


@dataclass
class Logged:
    """One request."""

    method: str
    path: str
    token: str | None
    range: str | None
    if_range: str | None = None
    status: int = 0
    sent: int = 0


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no event worth a traceback."""


class StandIn:
    """One server on a free port of this machine; `root` holds its files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.repos: dict[str, Repo] = {}
        self.tokens: dict[str, set[str]] = {}
        self.faults: list[Fault] = []
        self.log: list[Logged] = []
        self.latency = 0.0
        # Where large files really lie, as on the hub: a host of its own, which no token must reach.
        self.cdn: StandIn | None = None
        self._etags: dict[Path, str] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def bytes_sent(self) -> int:
        return sum(entry.sent for entry in self.log)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def paths(self, method: str | None = None) -> list[str]:
        return [entry.path for entry in self.log if method in (None, entry.method)]

    def add(self, repo_id: str, path: str, data: bytes) -> None:
        place = self.root / "datasets" / repo_id / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        self.repos.setdefault(repo_id, Repo())

    def fault_for(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and re.search(fault.pattern, path):
                    fault.times -= 1
                    return fault
        return None

    def etag(self, place: Path) -> str:
        """The content's SHA-256 for large files, else git's hash of it, as the hub has it."""
        if place not in self._etags:
            size = place.stat().st_size
            digest = hashlib.sha256() if is_large(place) else hashlib.sha1(f"blob {size}\0".encode())
            with place.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
            self._etags[place] = digest.hexdigest()
        return self._etags[place]

    def forget(self) -> None:
        self._etags.clear()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            entry: Logged

            def log_message(self, *args: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer("HEAD")

            def do_GET(self) -> None:
                self.answer("GET")

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                self.answer("POST")

            def answer(self, method: str) -> None:
                authorization = self.headers.get("Authorization", "")
                self.entry = Logged(
                    method,
                    self.path,
                    authorization.removeprefix("Bearer ") or None,
                    self.headers.get("Range"),
                    self.headers.get("If-Range"),
                )
                hub.log.append(self.entry)
                if hub.latency:
                    time.sleep(hub.latency)
                fault = hub.fault_for(method, self.path)
                if fault is not None and fault.redirect_to is not None:
                    return self.send(302, b"", {"Location": fault.redirect_to})
                if fault is not None and fault.status is not None:
                    return self.send(fault.status, b"", fault.headers)
                if fault is not None and fault.page is not None:
                    return self.send(200, fault.page, {"Content-Type": "text/html; charset=utf-8", **fault.headers})
                path = unquote(urlsplit(self.path).path)
                if path.startswith("/api/datasets/"):
                    return self.api(path.removeprefix("/api/datasets/"))
                if path.startswith("/api/"):
                    return self.send(404, b"{}")
                match = re.fullmatch(r"/datasets/([^/]+/[^/]+)/(resolve|raw)/([^/]+)/(.+)", path)
                if match is not None:
                    repo_id, _, revision, inside = match.groups()
                    if self.refused(repo_id, revision):
                        return None
                    place = hub.root / "datasets" / repo_id / inside
                    commit = {"X-Repo-Commit": hub.repos[repo_id].sha}
                    if not place.is_file():
                        return self.send(404, b"", {"X-Error-Code": "EntryNotFound", **commit})
                    return self.large_file(repo_id, place, fault, commit)
                place = hub.root / path.lstrip("/")
                if not place.is_file():
                    return self.send(404, b"no such file")
                return self.file(place, fault, {})

            def refused(self, repo_id: str, revision: str | None) -> bool:
                token = self.entry.token
                repo = hub.repos.get(repo_id)
                if repo is None or (token is not None and token not in hub.tokens):
                    self.send(401, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "not found"})
                elif repo.gated and token is None:
                    self.send(401, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "restricted"})
                elif repo.gated and repo_id not in hub.tokens[str(token)]:
                    self.send(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "no access"})
                elif revision not in (None, "main", repo.sha, *repo.revisions):
                    self.send(404, b"", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "invalid rev"})
                else:
                    return False
                return True

            def api(self, path: str) -> None:
                match = re.fullmatch(r"([^/]+/[^/]+)(?:/(revision|tree|auth-check))?(?:/([^/]+))?(?:/(.+))?", path)
                if match is None:
                    return self.send(404, b"{}")
                repo_id, kind, revision, inside = match.groups()
                gate = revision if kind in ("revision", "tree") else None
                if kind == "revision" and repo_id in hub.repos and hub.repos[repo_id].gated:
                    # The hub describes gated repositories to everybody.
                    pass
                elif self.refused(repo_id, gate):
                    return None
                folder = hub.root / "datasets" / repo_id
                if kind == "auth-check":
                    return self.send(200, b"{}")
                if kind == "tree":
                    return self.tree(folder, inside)
                files = sorted(place for place in folder.rglob("*") if place.is_file())
                blobs = "blobs=true" in self.path.lower()
                return self.send_json(
                    {
                        "id": repo_id,
                        "sha": hub.repos[repo_id].sha,
                        "private": False,
                        "disabled": False,
                        "gated": "auto" if hub.repos[repo_id].gated else False,
                        "tags": [],
                        "downloads": 0,
                        "likes": 0,
                        "author": repo_id.split("/")[0],
                        "createdAt": "2026-01-01T00:00:00.000Z",
                        "lastModified": "2026-01-01T00:00:00.000Z",
                        "siblings": [self.sibling(folder, place, blobs) for place in files],
                    }
                )

            def sibling(self, folder: Path, place: Path, blobs: bool) -> dict[str, Any]:
                described: dict[str, Any] = {"rfilename": str(place.relative_to(folder))}
                if blobs:
                    size = place.stat().st_size
                    described |= {"size": size, "blobId": "0" * 40 if is_large(place) else hub.etag(place)}
                    if is_large(place):
                        described["lfs"] = {"sha256": hub.etag(place), "size": size, "pointerSize": 134}
                return described

            def tree(self, folder: Path, inside: str | None) -> None:
                place = folder / (inside or "")
                if not place.is_dir():
                    return self.send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Error-Message": "none"})
                recursive = "recursive=true" in self.path.lower()
                entries = []
                for child in sorted(place.rglob("*") if recursive else place.iterdir()):
                    name = str(child.relative_to(folder))
                    if child.is_dir():
                        entries.append({"type": "directory", "path": name, "size": 0, "oid": "0" * 40})
                    else:
                        size = child.stat().st_size
                        lfs = {"oid": hub.etag(child), "size": size, "pointerSize": 134}
                        entries.append({"type": "file", "path": name, "size": size, "oid": "0" * 40, "lfs": lfs})
                return self.send_json(entries)

            def large_file(self, repo_id: str, place: Path, fault: Fault | None, headers: dict[str, str]) -> None:
                if hub.cdn is None or not is_large(place):
                    return self.file(place, fault, headers)
                copy = hub.cdn.root / "blobs" / hub.etag(place)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(place.read_bytes())
                linked = {"X-Linked-Etag": f'"{hub.etag(place)}"', "X-Linked-Size": str(place.stat().st_size)}
                location = f"{hub.cdn.url}/blobs/{hub.etag(place)}?signature=abc"
                return self.send(302, b"", {"Location": location, **linked, **headers})

            def file(self, place: Path, fault: Fault | None, headers: dict[str, str]) -> None:
                fault = fault or Fault("")
                size = place.stat().st_size
                start, stop, status = 0, size, 200
                match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
                headers = {
                    "ETag": f'"{hub.etag(place)}"',
                    "Last-Modified": formatdate(place.stat().st_mtime, usegmt=True),
                    "Accept-Ranges": "bytes",
                    "Content-Type": "application/octet-stream",
                    **headers,
                }
                unchanged = self.headers.get("If-Range") in (None, headers["ETag"], headers["Last-Modified"])
                if match is not None and unchanged:
                    start = int(match[1])
                    stop = min(size, int(match[2]) + 1) if match[2] else size
                    status = 206
                    if start >= size:
                        self.send(416, b"", {**headers, "Content-Range": f"bytes */{size}"})
                        return
                    told = 0 if fault.hidden else fault.shifted
                    headers["Content-Range"] = f"bytes {start + told}-{stop + told - 1}/{size}"
                if fault.cut_to is not None:
                    stop = min(stop, start + fault.cut_to)
                self.entry.status = status
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(stop - start), **fault.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "HEAD":
                    return
                if fault.cut_after is not None:
                    stop = min(stop, start + fault.cut_after)
                    self.close_connection = True
                with place.open("rb") as file:
                    file.seek(start + fault.shifted)
                    left = stop - start
                    try:
                        while left > 0:
                            block = file.read(min(left, 1 << 16)) or b"\0" * left
                            self.entry.sent += len(block)
                            self.wfile.write(block)
                            left -= len(block)
                    except (BrokenPipeError, ConnectionResetError):
                        self.close_connection = True

            def send_json(self, value: object) -> None:
                self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

            def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
                self.entry.status = status
                self.send_response(status)
                for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.entry.sent += len(body)
                    self.wfile.write(body)

        return Handler


def is_large(place: Path) -> bool:
    """Whether the hub keeps a file outside git."""
    return place.suffix == ".parquet"


@contextmanager
def running(root: Path) -> Iterator[StandIn]:
    """A stand-in that is closed afterwards."""
    server = StandIn(root)
    try:
        yield server
    finally:
        server.close()
