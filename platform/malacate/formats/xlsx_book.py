"""An XLSX workbook as the parts that a table needs, each cell with the text the file has for it.

The common libraries give cells as floats and dates, and not whether a formula has been computed;
so the parts are read here, by Python's own zip and XML readers, row by row.
"""

import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

from malacate.errors import UnreadableFile
from malacate.formats.caps import Caps

Element = ElementTree.Element
_OLE, _ZIP = b"\xd0\xcf\x11\xe0", b"PK"
_MOST_STRINGS = 512 << 20
_MOST_COLUMNS = 16_384
_DATES = frozenset([*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)])
_NO_SIGNS = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?![hms]+\])[^\]]*\]', re.IGNORECASE)


@dataclass(frozen=True)
class Cell:
    """``kind`` is one of text, number, date, boolean, error, formula (one without a value)."""

    kind: str
    text: str


Row = Mapping[int, Cell]
"""The cells of a row that hold something, by column from 0."""


@dataclass
class Book:
    """An open workbook."""

    path: Path
    archive: zipfile.ZipFile
    is_1904: bool
    sheets: Mapping[str, str]
    strings: list[str] = field(default_factory=list)
    dates: list[bool] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)

    def rows(self, sheet: str) -> Iterator[tuple[int, Row]]:
        """Number and cells of each row that holds something; ``merged`` is known at the end."""
        number = 0
        with self._part(self.sheets[sheet]) as part:
            for element in _elements(part, "row", "mergeCell"):
                if _name(element) == "mergeCell":
                    self.merged.append(element.get("ref", ""))
                    continue
                before, number = number, int(element.get("r", number + 1))
                if number <= before:
                    raise ValueError(f"row {number} follows row {before}")
                if row := self._row(element):
                    yield number, row

    def _row(self, element: Element) -> Row:
        found: dict[int, Cell] = {}
        at = -1
        for child in element:
            if _name(child) != "c":
                continue
            at = _column(child.get("r", ""), at + 1)
            if at in found:
                raise ValueError(f"cell {child.get('r')} comes twice")
            if (cell := self._cell(child)) is not None:
                found[at] = cell
        return found

    def _cell(self, element: Element) -> Cell | None:
        kind = element.get("t", "n")
        parts = {_name(child): child for child in element}
        value = parts["v"].text if "v" in parts else None
        if kind == "inlineStr":
            return Cell("text", _text(parts["is"])) if "is" in parts else None
        if value is None and not (kind == "str" and "v" in parts):
            return Cell("formula", parts["f"].text or "") if "f" in parts else None
        value = value or ""
        if kind == "s":
            return Cell("text", self.strings[_index(value)])
        if kind == "n":
            style = _index(element.get("s", "0"))
            return Cell(
                "date" if style < len(self.dates) and self.dates[style] else "number", value
            )
        return Cell({"str": "text", "d": "text", "b": "boolean", "e": "error"}[kind], value)

    @contextmanager
    def _part(self, name: str) -> Iterator[IO[bytes]]:
        with self.archive.open(name) as part:
            yield part
            while part.read(1 << 16):  # to the checksum
                pass


@contextmanager
def opened(path: Path, caps: Caps) -> Iterator[Book]:
    """The workbook at ``path``. Whatever is wrong with it is an ``UnreadableFile``."""
    try:
        _check_head(path)
        with zipfile.ZipFile(path) as archive:
            _check_parts(archive, path, caps)
            yield _book(path, archive)
    except UnreadableFile:
        raise
    except (
        zipfile.BadZipFile, ElementTree.ParseError, NotImplementedError, RuntimeError,
        LookupError, ValueError, EOFError, OSError, zlib.error,
    ) as error:  # fmt: skip
        actual = f"{type(error).__name__}: {error}"[:300]
        raise refused(path, "a workbook is damaged", "corrupt", actual) from error


def refused(
    path: Path, what: str, reason: str, actual: str = "", advice: str = ""
) -> UnreadableFile:
    """The error for a workbook that cannot be read."""
    advice = advice or "Ask for the file again; if it comes the same, its writer is at fault."
    return UnreadableFile(what, advice, object=path.name, actual=actual, reason=reason)


def letters(column: int) -> str:
    """A column's letters: 0 is A."""
    name = ""
    while column >= 0:
        name, column = chr(65 + column % 26) + name, column // 26 - 1
    return name


def _check_head(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(8)
    if not head:
        raise refused(path, "a workbook has no bytes", "empty_object")
    if head.startswith(_OLE):
        if "EncryptedPackage".encode("utf-16-le") in path.read_bytes():
            advice = "Ask for it without a password."
            raise refused(path, "the workbook is encrypted", "encrypted", advice=advice)
        advice = "Ask for it saved as .xlsx, or as CSV."
        raise refused(path, "the file is an Excel 97-2003 workbook", "legacy_xls", advice=advice)
    if not head.startswith(_ZIP):
        raise refused(path, "a file does not begin as XLSX files do", "bad_magic", repr(head[:4]))


def _check_parts(archive: zipfile.ZipFile, path: Path, caps: Caps) -> None:
    parts = archive.infolist()
    if any(part.flag_bits & 1 for part in parts):
        raise refused(path, "the workbook is encrypted", "encrypted", advice="Ask for it open.")
    size = sum(part.file_size for part in parts)
    caps.check_bytes(size, path.name)
    caps.check_ratio(size, sum(part.compress_size for part in parts), path.name)
    if len({part.filename for part in parts}) < len(parts):
        raise refused(path, "a workbook has two parts of one name", "corrupt")
    if any(p.filename.lower().endswith("sharedstrings.xml") and p.file_size > _MOST_STRINGS
           for p in parts):  # fmt: skip
        raise refused(path, "the texts of a workbook do not fit into memory", "too_large")


def _book(path: Path, archive: zipfile.ZipFile) -> Book:
    root = _related(archive, "")
    main = next((t for kind, t in root.values() if kind == "officeDocument"), "")
    if not main.endswith(".xml"):
        advice = "Ask for it saved as .xlsx, or as CSV."
        raise refused(path, "the file is no XLSX workbook", "not_xlsx", main, advice)
    related = _related(archive, main)
    book = Book(path, archive, False, {})
    with book._part(main) as part:
        tree = ElementTree.parse(part).getroot()  # noqa: S314 - expat bounds what entities become
    settings = next((e for e in tree if _name(e) == "workbookPr"), None)
    book.is_1904 = settings is not None and settings.get("date1904", "0") in ("1", "true")
    listed = [e for e in tree.iter() if _name(e) == "sheet"]
    book.sheets = {e.get("name", ""): related[_relation(e)][1] for e in listed}
    if len(book.sheets) < len(listed):
        raise ValueError("two sheets have one name")
    for kind, target in related.values():
        if kind == "sharedStrings":
            with book._part(target) as part:
                book.strings = [_text(e) for e in _elements(part, "si")]
        elif kind == "styles":
            with book._part(target) as part:
                book.dates = _date_styles(ElementTree.parse(part).getroot())  # noqa: S314
    return book


def _related(archive: zipfile.ZipFile, part: str) -> dict[str, tuple[str, str]]:
    """Kind and path of each part that ``part`` refers to; one that is missing is an error."""
    folder, name = posixpath.split(part)
    with archive.open(posixpath.join(folder, "_rels", f"{name}.rels")) as rels:
        tree = ElementTree.parse(rels).getroot()  # noqa: S314
    found = {}
    for element in tree:
        if element.get("TargetMode") == "External":
            continue
        target = posixpath.normpath(posixpath.join("/", folder, element.attrib["Target"]))
        archive.getinfo(target.lstrip("/"))
        kind = posixpath.basename(element.attrib["Type"])
        found[element.attrib["Id"]] = (kind, target.lstrip("/"))
    return found


def _date_styles(tree: Element) -> list[bool]:
    """Whether a number in each style of cell shows as a date or a time."""
    codes = {
        int(e.attrib["numFmtId"]): e.get("formatCode", "")
        for e in tree.iter()
        if _name(e) == "numFmt"
    }
    formats = next((e for e in tree if _name(e) == "cellXfs"), ())
    return [_is_date(int(e.get("numFmtId", "0")), codes) for e in formats]


def _is_date(number: int, codes: Mapping[int, str]) -> bool:
    if number not in codes:
        return number in _DATES
    code = _NO_SIGNS.sub("", codes[number].split(";")[0])
    return re.search(r"[ymdhs]", code, re.IGNORECASE) is not None and "General" not in code


def _elements(part: IO[bytes], *wanted: str) -> Iterator[Element]:
    """Elements of those names, each forgotten once it was used."""
    parents: list[Element] = []
    for event, element in ElementTree.iterparse(part, ("start", "end")):  # noqa: S314
        if event == "start":
            parents.append(element)
            continue
        parents.pop()
        if _name(element) in wanted:
            yield element
            if parents:
                parents[-1].clear()


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _relation(element: Element) -> str:
    return next(v for k, v in element.attrib.items() if k.endswith("}id"))


def _text(element: Element) -> str:
    """The text of a string: its runs, without the reading aid for East Asian names."""
    if _name(element) == "t":
        return _ESCAPE.sub(lambda m: chr(int(m[1], 16)), element.text or "")
    return "".join(_text(e) for e in element if _name(e) in ("t", "r"))


_ESCAPE = re.compile("_x([0-9A-Fa-f]{4})_")


def _index(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text!r} is no index")
    return int(text)


def _column(reference: str, following: int) -> int:
    if not reference:
        return following
    name = reference.rstrip("0123456789")
    if not re.fullmatch("[A-Z]{1,3}", name):
        raise ValueError(f"{reference!r} is no cell")
    column = -1
    for sign in name:
        column = (column + 1) * 26 + ord(sign) - 65
    if column >= _MOST_COLUMNS:
        raise ValueError(f"{reference!r} is no cell")
    return column
