"""A bucket of a million objects that nobody has to make: S3's ListObjectsV2 over loopback.

Objects stand in hour folders; a page is rendered as it is asked for. Nothing but listing works.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

sys.path.insert(0, str(Path(__file__).parent.parent))
from platform_tests.sources.stores import name_of, numbers

AN_HOUR = 100
"""Objects in each hour's folder."""

PAGE = 1000


class Listings(BaseHTTPRequestHandler):
    """``/<count>``: a bucket of so many objects."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """One page."""
        where = urlsplit(self.path)
        asked = {key: values[0] for key, values in parse_qs(where.query).items()}
        body = page(int(where.path.strip("/").removeprefix("bucket-")), asked).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def page(count: int, asked: dict[str, str]) -> str:
    """The answer to one request, as S3 writes it."""
    prefix = asked.get("prefix", "")
    after = asked.get("continuation-token") or asked.get("start-after", "")
    found = numbers(count, AN_HOUR, prefix, after)
    some = found[: min(PAGE, int(asked.get("max-keys", PAGE)))]
    is_cut = len(some) < len(found)
    keys = [name_of(number, AN_HOUR) for number in some]
    if asked.get("encoding-type") == "url":
        keys, prefix = [quote(key) for key in keys], quote(prefix)
    # S3 lists objects in the order of their names, which here is that of their times.
    contents = "".join(
        f"<Contents><Key>{key}</Key><LastModified>{_moment(number)}</LastModified>"
        f'<ETag>"{number:032x}"</ETag><Size>100</Size><StorageClass>STANDARD</StorageClass></Contents>'
        for number, key in zip(some, keys, strict=True)
    )
    more = f"<NextContinuationToken>{keys[-1]}</NextContinuationToken>" if is_cut else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>bucket-{count}</Name><Prefix>{prefix}</Prefix><KeyCount>{len(some)}</KeyCount>"
        f"<MaxKeys>{PAGE}</MaxKeys><IsTruncated>{str(is_cut).lower()}</IsTruncated>{more}{contents}"
        "</ListBucketResult>"
    )


def _moment(number: int) -> str:
    year, month, day, hour = name_of(number, AN_HOUR).split("/")[1:5]
    second = number % AN_HOUR * 3600 // AN_HOUR
    return f"{year}-{month}-{day}T{hour}:{second // 60:02}:{second % 60:02}.000Z"


@contextmanager
def bucket() -> Iterator[str]:
    """The endpoint of a server in a process of its own."""
    context = get_context("spawn")
    told: Queue[int] = context.Queue()
    process = context.Process(target=_serve, args=(told,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{told.get(timeout=60)}"
    finally:
        process.kill()  # SIGTERM may be ignored by whoever started us
        process.join()


def _serve(told: "Queue[int]") -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Listings)
    told.put(server.server_port)
    server.serve_forever()
