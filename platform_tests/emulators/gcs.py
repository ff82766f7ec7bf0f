"""Google Cloud Storage's JSON API in memory, as strict as the service where we lean on it.

Our own because the stand-ins that exist pass over ``ifGenerationMatch`` on reads and removals:
412, generations, ``startOffset``, pages and refused names are as documented by the service.
"""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from google_crc32c import Checksum

PAGE = 1000
_NO_CONDITION = -1


@dataclass
class Blob:
    name: str
    data: bytes
    generation: int
    metadata: dict[str, str]
    updated: float = field(default_factory=time.time)

    def described(self, bucket: str) -> dict[str, Any]:
        return {
            "kind": "storage#object",
            "bucket": bucket,
            "name": self.name,
            "size": str(len(self.data)),
            "generation": str(self.generation),
            "metageneration": "1",
            "updated": datetime.fromtimestamp(self.updated, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "crc32c": base64.b64encode(Checksum(self.data).digest()).decode(),
            "metadata": self.metadata,
        }


class Refusal(Exception):
    def __init__(self, status: HTTPStatus, said: str) -> None:
        super().__init__(said)
        self.status = status


class Service:
    """Buckets of blobs; every change under one lock.

    With a ``folder``, each blob is also the file ``folder/bucket/name``, for an engine that reads
    ``gs://`` there (``parts.bigquery``). Files are copies: to change one changes no blob.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._buckets: dict[str, dict[str, Blob]] = {}
        self._uploads: dict[str, tuple[str, dict[str, Any], int]] = {}
        self._lock = threading.Lock()
        self._last = 0

    def create_bucket(self, name: str) -> dict[str, Any]:
        with self._lock:
            if name in self._buckets:
                raise Refusal(HTTPStatus.CONFLICT, "You already own this bucket.")
            self._buckets[name] = {}
        return {"kind": "storage#bucket", "name": name}

    def list(self, bucket: str, asked: dict[str, str]) -> dict[str, Any]:
        with self._lock:
            blobs = list(self._bucket(bucket).values())
        start, prefix = asked.get("startOffset", ""), asked.get("prefix", "")
        last = base64.b64decode(asked.get("pageToken", "")).decode()
        fitting = [b for b in blobs if b.name.startswith(prefix) and b.name >= start]
        fitting = sorted((b for b in fitting if b.name > last), key=lambda b: b.name.encode())
        size = min(int(asked.get("maxResults", PAGE)), PAGE)
        page: dict[str, Any] = {"items": [b.described(bucket) for b in fitting[:size]]}
        if fitting[size:]:
            page["nextPageToken"] = base64.b64encode(fitting[size - 1].name.encode()).decode()
        return page

    def get(self, bucket: str, name: str, generation: int) -> Blob:
        with self._lock:
            blob = self._bucket(bucket).get(name)
        if blob is None:
            raise Refusal(HTTPStatus.NOT_FOUND, f"No such object: {bucket}/{name}")
        self._require(blob, generation)
        return blob

    def put(
        self, bucket: str, described: dict[str, Any], data: bytes, generation: int
    ) -> dict[str, Any]:
        name = described["name"]
        if not name or len(name.encode()) > 1024 or name in (".", "..") or {*"\r\n"} & set(name):
            raise Refusal(HTTPStatus.BAD_REQUEST, f"Invalid object name: {name!r}")
        with self._lock:
            blobs = self._bucket(bucket)
            self._require(blobs.get(name), generation)
            self._copy(bucket, name, data)
            self._last = max(self._last + 1, time.time_ns() // 1000)
            blobs[name] = Blob(name, data, self._last, described.get("metadata") or {})
            return blobs[name].described(bucket)

    def remove(self, bucket: str, name: str, generation: int) -> None:
        self.get(bucket, name, _NO_CONDITION)
        with self._lock:
            self._require(self._bucket(bucket).get(name), generation)
            self._bucket(bucket).pop(name, None)
            if self._folder is not None:
                (self._folder / bucket / name).unlink(missing_ok=True)

    def begin(self, bucket: str, described: dict[str, Any], generation: int) -> str:
        with self._lock:
            self._bucket(bucket)
            self._uploads[str(len(self._uploads))] = bucket, described, generation
            return str(len(self._uploads) - 1)

    def finish(self, upload: str, data: bytes) -> dict[str, Any]:
        bucket, described, generation = self._uploads[upload]
        return self.put(bucket, described, data, generation)

    def _copy(self, bucket: str, name: str, data: bytes) -> None:
        """As a file, which appears whole, and only of names that are one path."""
        if self._folder is None:
            return
        if {"", ".", ".."} & set(name.split("/")):
            raise Refusal(HTTPStatus.BAD_REQUEST, f"Not the name of a file too: {name!r}")
        file, written = self._folder / bucket / name, self._folder / ".written"
        file.parent.mkdir(parents=True, exist_ok=True)
        written.write_bytes(data)
        written.replace(file)

    def _bucket(self, name: str) -> dict[str, Blob]:
        if name not in self._buckets:
            raise Refusal(HTTPStatus.NOT_FOUND, "The specified bucket does not exist.")
        return self._buckets[name]

    @staticmethod
    def _require(blob: Blob | None, generation: int) -> None:
        if generation not in (_NO_CONDITION, blob.generation if blob else 0):
            raise Refusal(HTTPStatus.PRECONDITION_FAILED, "A pre-condition did not hold.")


class Handler(BaseHTTPRequestHandler):
    """Paths are ``[/upload|/download]/storage/v1/b[/<bucket>/o[/<object>]]``."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    service: Service

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_PUT(self) -> None:
        self._answer(lambda: self._json(self.service.finish(self._asked["upload_id"], self._body)))

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, act: Any) -> None:
        url = urlsplit(self.path)
        _, _, rest = url.path.partition("/storage/v1/b")
        bucket, _, name = rest.lstrip("/").partition("/o")
        self._place = unquote(bucket), unquote(name[1:])
        self._asked = {key: values[0] for key, values in parse_qs(url.query).items()}
        self._generation = int(self._asked.get("ifGenerationMatch", _NO_CONDITION))
        self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            act()
        except Refusal as refusal:
            told = {"error": {"code": refusal.status.value, "message": str(refusal)}}
            self._json(told, refusal.status)

    def _get(self) -> None:
        bucket, name = self._place
        if not name:
            self._json(self.service.list(bucket, self._asked))
            return
        blob = self.service.get(bucket, name, self._generation)
        if self._asked.get("alt") != "media":
            self._json(blob.described(bucket))
            return
        status, data = HTTPStatus.OK, blob.data
        if wanted := self.headers.get("Range", "").removeprefix("bytes="):
            first, _, last = wanted.partition("-")
            status, data = HTTPStatus.PARTIAL_CONTENT, data[int(first) : int(last or -2) + 1]
        self._send(status, data, {"x-goog-generation": str(blob.generation)})

    def _post(self) -> None:
        bucket = self._place[0]
        if self._asked.get("uploadType") == "resumable":
            described = {"name": self._asked.get("name"), **json.loads(self._body or b"{}")}
            upload = self.service.begin(bucket, described, self._generation)
            where = f"http://{self.headers['Host']}/upload/storage/v1/b/{bucket}/o"
            self._send(HTTPStatus.OK, b"", {"Location": f"{where}?upload_id={upload}"})
        elif self._asked.get("uploadType") == "multipart":
            described, data = self._parts()
            self._json(self.service.put(bucket, described, data, self._generation))
        else:
            self._json(self.service.create_bucket(json.loads(self._body)["name"]))

    def _parts(self) -> tuple[dict[str, Any], bytes]:
        boundary = self.headers["Content-Type"].partition("boundary=")[2].strip('"').encode()
        _, described, media = self._body.split(b"--" + boundary, 2)
        media = media[: media.rindex(b"\r\n--" + boundary)]
        return json.loads(described.split(b"\r\n\r\n", 1)[1]), media.split(b"\r\n\r\n", 1)[1]

    def _delete(self) -> None:
        self.service.remove(*self._place, self._generation)
        self._send(HTTPStatus.NO_CONTENT, b"", {})

    def _json(self, told: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(status, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def _send(self, status: HTTPStatus, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(folder: Path | None = None) -> Iterator[str]:
    """An empty service on a free port of loopback; its URL. ``folder``: see ``Service``."""
    handler = type("OwnHandler", (Handler,), {"service": Service(folder)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
