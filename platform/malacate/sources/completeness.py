"""When are the files of a producer whole: ``_SUCCESS`` beside them, or a manifest that lists them.

Which names are drops at all is said in ``selection``; decoding files is no business of this module.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from malacate.errors import Superseded, UnreadableFile
from malacate.stores.names import raw, readable
from malacate.stores.protocol import Entry, Store

Rule = Literal["each", "success", "manifest"]
"""Whether a file counts by itself, once its folder is marked, or once a manifest holds."""

SUCCESS = "_SUCCESS"
MANIFEST_BYTES = 64 << 20


@dataclass(frozen=True)
class Passed:
    """An object that is passed over for now, or for ever, and why."""

    name: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Promise:
    """What a manifest says of a file; ``None`` or empty where it says nothing."""

    name: str
    size: int | None = None
    rows: int | None = None
    sha256: str = ""

    def to_json(self) -> str:
        """As text that can stand beside what was found."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The promise that ``to_json`` wrote."""
        return cls(**json.loads(text))

    def hold(self, rows: int | None = None, sha256: str = "") -> None:
        """Raise ``UnreadableFile`` unless the file is what was promised; unknown facts pass."""
        if self.sha256 and sha256 and self.sha256 != sha256:
            raise _broken(self.name, "manifest_sha256", self.sha256, sha256)
        if self.rows is not None and rows is not None and self.rows != rows:
            raise _broken(self.name, "manifest_rows", f"{self.rows} rows", f"{rows}")


class Marked:
    """Files of a folder count once ``_SUCCESS`` stands in it."""

    def __init__(self, store: Store, listed: Iterable[Entry]) -> None:
        self._store = store
        names = (entry.name for entry in listed)
        self._is_whole = {_folder(n): True for n in names if n.rpartition("/")[2] == SUCCESS}

    def whole(self, name: str) -> bool:
        """Whether the folder of ``name`` is marked; a marker that was not listed is asked for."""
        folder = _folder(name)
        if folder not in self._is_whole:
            self._is_whole[folder] = _head(self._store, folder + SUCCESS) is not None
        return self._is_whole[folder]


class Manifests:
    """Files count once a manifest lists them and all that it lists stand, each in its size.

    One request for each listed file that the listing at hand does not hold. Manifests are read
    once per version.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[tuple[str, str], list[Promise]] = {}

    def whole(
        self, manifest: Entry, listed: Mapping[str, Entry]
    ) -> tuple[list[tuple[Entry, Promise]], list[Passed]]:
        """The files of a manifest with what it promises of each, or none and what is amiss."""
        try:
            promises = self._promises(manifest)
        except UnreadableFile as error:
            return [], [Passed(manifest.name, error.reason, error.actual)]
        except (Superseded, FileNotFoundError):
            return [], [Passed(manifest.name, "unsettled", "it was written again, or removed")]
        files, amiss = [], []
        for promise in promises:
            entry = listed.get(promise.name) or _head(self._store, promise.name)
            if entry is None:
                amiss.append(Passed(promise.name, "missing", f"{manifest.name} lists it"))
            elif promise.size not in (None, entry.size):
                told = f"{manifest.name} says {promise.size} bytes, {entry.size} stand"
                amiss.append(Passed(promise.name, "short", told))
            else:
                files.append((entry, promise))
        if amiss and not files and all(passed.reason == "missing" for passed in amiss):
            return [], [Passed(manifest.name, "emptied", "nothing that it lists stands")]
        return ([], amiss) if amiss else (files, [])

    def _promises(self, manifest: Entry) -> list[Promise]:
        key = (manifest.name, manifest.version)
        if key not in self._read:
            if manifest.size > MANIFEST_BYTES:
                raise _unreadable(manifest.name, f"{manifest.size} bytes")
            with self._store.open(*key) as opened:
                text = opened.read(MANIFEST_BYTES + 1)
                opened.verify()
            if len(self._read) > 10_000:
                self._read.clear()
            self._read[key] = promises_of(text, manifest.name, self._store.uri)
        return self._read[key]


def promises_of(text: bytes, manifest: str, uri: str) -> list[Promise]:
    """What a manifest lists; raises ``UnreadableFile``.

    Either ``{"files": [{"name", "size", "rows", "sha256"}]}``, names relative to the manifest's
    folder, or what Redshift's UNLOAD writes: ``{"entries": [{"url", "meta": {"content_length",
    "record_count"}}]}``, of which every entry is mandatory here.
    """
    try:
        document = json.loads(text)
        if "entries" in document:
            return [_unloaded(entry, manifest, uri) for entry in document["entries"]]
        return [_listed(entry, manifest) for entry in document["files"]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _unreadable(manifest, f"{type(error).__name__}: {error}") from error


def _listed(entry: Any, manifest: str) -> Promise:
    name = readable(raw(_folder(manifest)) + _below(_text(entry["name"]), manifest))
    rows, sha256 = entry.get("rows"), _text(entry.get("sha256", "")).lower()
    return Promise(name, _count(entry.get("size")), _count(rows), sha256)


def _unloaded(entry: Any, manifest: str, uri: str) -> Promise:
    url, root = _text(entry["url"]), uri.rstrip("/") + "/"
    if not url.startswith(root):
        raise _unreadable(manifest, f"{url!r} is not below {root}")
    meta = entry.get("meta", {})
    name = readable(_below(url.removeprefix(root), manifest))
    return Promise(name, _count(meta.get("content_length")), _count(meta.get("record_count")))


def _below(name: str, manifest: str) -> bytes:
    if "\0" in name or {"", ".", ".."} & set(name.split("/")):
        raise _unreadable(manifest, f"{name!r} is no name of a file")
    return name.encode()


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _count(value: Any) -> int | None:
    if value is None or (type(value) is int and value >= 0):
        return value
    raise TypeError(f"{value!r} is no count")


def _folder(name: str) -> str:
    return name[: name.rfind("/") + 1]


def _head(store: Store, name: str) -> Entry | None:
    try:
        return store.head(name)
    except FileNotFoundError:
        return None


def _unreadable(manifest: str, what: str) -> UnreadableFile:
    return UnreadableFile(
        "a manifest cannot be read",
        "Have it written again; until then none of its files is taken.",
        object=manifest,
        expected='{"files": [{"name": ...}]} or {"entries": [{"url": ...}]}',
        actual=what,
        reason="manifest_unreadable",
    )


def _broken(name: str, reason: str, expected: str, actual: str) -> UnreadableFile:
    return UnreadableFile(
        "a file is not what its manifest says",
        "Have it delivered again, with a manifest that is right.",
        object=name,
        expected=expected,
        actual=actual,
        reason=reason,
    )
