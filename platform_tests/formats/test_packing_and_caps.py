"""Packing is known by its bytes and read to its end; each cap refuses with its own reason."""

import bz2
import gzip
import itertools
import lzma
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from backports import zstd
from platform_tests.formats.readings import refusal, table, whole

from malacate.batch import Chunk
from malacate.errors import ConfigError, UnreadableFile
from malacate.formats import FileFormat, FormatName, caps, unpack
from malacate.formats.caps import Caps

SALE = table(id="bigint")
CONTENT: dict[FormatName, bytes] = {
    "csv": b"id\n" + b"".join(b"%d\n" % n for n in range(3000)),
    "jsonl": b"".join(b'{"id": %d}\n' % n for n in range(3000)),
}
WANTED = [{"id": n} for n in range(3000)]
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "zstd": zstd.compress, "bzip2": bz2.compress, "xz": lzma.compress,
}  # fmt: skip
EVERY = [(name, kind) for name in CONTENT for kind in PACK]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst", ".csv", ".avro"])
@pytest.mark.parametrize("kind", ["", *PACK])
@pytest.mark.parametrize("name", CONTENT)
def test_20_a_packed_file_loads_whatever_its_name(
    tmp_path: Path, name: FormatName, kind: str, ending: str
) -> None:
    path = tmp_path / f"sale{ending}"
    path.write_bytes(PACK[kind](CONTENT[name]) if kind else CONTENT[name])
    assert whole(path, SALE, FileFormat(name))[:2] == (WANTED, [])


@pytest.mark.parametrize("size", [3, 1 << 20])
@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_members_that_follow_one_another_are_one_file(
    tmp_path: Path, name: FormatName, kind: str, size: int
) -> None:
    data, pack = CONTENT[name], PACK[kind]
    path = tmp_path / "sale"
    path.write_bytes(pack(data[:5000]) + pack(b"") + pack(data[5000:]) + bytes(512))
    assert b"".join(unpack.blocks(path, Caps(), size)) == data


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_a_packed_file_cut_anywhere_is_refused(tmp_path: Path, name: FormatName, kind: str) -> None:
    data = PACK[kind](CONTENT[name])
    path = tmp_path / "sale"
    for cut in range(6, len(data), max(1, len(data) // 60)):
        path.write_bytes(data[:cut])
        assert refusal(path, SALE, FileFormat(name)) == "truncated", cut


@pytest.mark.parametrize("tail", [b"x", b"more text", b"\n", b"\0\0id\n", b"PK\x03\x04" * 30])
@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_bytes_behind_a_packed_file_are_refused(
    tmp_path: Path, name: FormatName, kind: str, tail: bytes
) -> None:
    path = tmp_path / "sale"
    path.write_bytes(PACK[kind](CONTENT[name]) + tail)
    assert refusal(path, SALE, FileFormat(name)) in ("truncated", f"bad_{kind}")


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("name", ["avro", "parquet", "xlsx"])
def test_a_format_that_packs_within_is_refused_in_a_packing(
    tmp_path: Path, name: FormatName, kind: str
) -> None:
    path = tmp_path / "sale"
    path.write_bytes(PACK[kind](b"Obj\x01" + bytes(500)))
    with pytest.raises(UnreadableFile, match=f"packed with {kind}") as caught:
        whole(path, SALE, FileFormat(name))
    assert caught.value.reason == "bad_magic"


@pytest.mark.parametrize("kind", PACK)
def test_26_a_decompression_bomb_is_refused_before_it_has_grown(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caps, "RATIO_FROM", 1 << 20)
    path = tmp_path / "sale"
    path.write_bytes(PACK[kind](bytes(64 << 20)))
    grown: list[int] = []
    blocks = unpack.blocks(path, Caps(), 1 << 20)
    with pytest.raises(UnreadableFile) as caught:
        grown.extend(map(len, blocks))
    assert caught.value.reason == "decompression_bomb"
    assert sum(grown) <= 16 << 20


CAPPED: list[tuple[str, FormatName, bytes, dict[str, Any]]] = [
    ("too_large", "csv", CONTENT["csv"], {"bytes": 5000}),
    ("too_large", "jsonl", CONTENT["jsonl"], {"bytes": 5000}),
    ("too_large", "csv", gzip.compress(b"id\n" * 3000), {"bytes": 5000}),
    ("too_large", "avro", bytes(5001), {"bytes": 5000}),
    ("too_large", "parquet", bytes(5001), {"bytes": 5000}),
    ("decompression_bomb", "csv", gzip.compress(b"id\n" + b"1\n" * (6 << 20)), {"ratio": 10}),
    ("too_many_rows", "csv", CONTENT["csv"], {"rows": 2999}),
    ("too_many_rows", "jsonl", CONTENT["jsonl"], {"rows": 2999}),
    ("too_deep", "jsonl", b'{"id": [[1]]}\n', {"depth": 2}),
    ("too_slow", "csv", CONTENT["csv"], {"seconds": 1e-9}),
    ("too_slow", "jsonl", CONTENT["jsonl"], {"seconds": 1e-9}),
]


@pytest.mark.parametrize(
    ("reason", "name", "data", "limits"),
    CAPPED,
    ids=[f"{number}-{one[0]}-{one[1]}" for number, one in enumerate(CAPPED)],
)
def test_what_goes_beyond_a_cap_is_refused_with_its_reason(
    tmp_path: Path, reason: str, name: FormatName, data: bytes, limits: dict[str, Any]
) -> None:
    path = tmp_path / "sale"
    path.write_bytes(data)
    with pytest.raises(UnreadableFile, match="raise the cap") as caught:
        whole(path, SALE, FileFormat(name, caps=Caps(**limits)))
    assert (caught.value.reason, caught.value.object) == (reason, "sale")


def test_what_stands_at_a_cap_loads(tmp_path: Path) -> None:
    path = tmp_path / "sale"
    for name, data in CONTENT.items():
        path.write_bytes(data)
        limits = Caps(bytes=len(data), rows=3000, depth=1)
        assert whole(path, SALE, FileFormat(name, caps=limits))[:2] == (WANTED, [])


def test_time_is_that_of_reading_not_of_what_is_done_with_the_rows() -> None:
    rows = pa.RecordBatch.from_pydict({"id": [1]})
    chunks = Caps(seconds=0.05).bounded(itertools.repeat(Chunk(rows), 3), "sale")
    for _ in chunks:
        time.sleep(0.05)


def test_caps_come_from_a_declaration_as_a_mapping() -> None:
    assert FileFormat("csv", caps={"rows": 5}).caps == Caps(rows=5)  # type: ignore[arg-type]
    for wrong in ({"rows": 0}, {"seconds": -1}, {"depth": 100_000}, {"row": 1}):
        with pytest.raises(ConfigError):
            FileFormat("csv", caps=wrong)  # type: ignore[arg-type]
