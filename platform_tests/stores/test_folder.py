import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from malacate.errors import SourceUnreachable, Superseded
from malacate.stores.folder import FolderStore

ODD = [
    b"plain.csv",
    b"with space.csv",
    b"new\nline.csv",
    b"tab\t.csv",
    b"quote\"and'quote.csv",
    b"%2F.csv",
    b"%252F.csv",
    "rock 🪨.csv".encode(),
    "\u00e9.csv".encode(),
    "e\u0301.csv".encode(),
    "\u202etxt.csv".encode(),
    "\u00a0.csv".encode(),
    b"latin-\xe9.csv",
    b"\xff\xfe.csv",
    b"back\\slash.csv",
    b"C:\\x.csv",
    b"case.csv",
    b"CASE.csv",
    b"Case.csv",
    b"a" * 251 + b".csv",
    b"-rf.csv",
    b"$(reboot).csv",
    b"x..csv",
    b"new%0Aline.csv",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "drops"
    folder.mkdir()
    return folder


def put(root: Path, name: bytes, text: bytes = b"x") -> None:
    path = os.path.join(os.fsencode(root), name)  # noqa: PTH118
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(text)


def names(folder: FolderStore) -> list[str]:
    return [entry.name for entry in folder.list()]


def test_odd_names_are_listed_and_open_each_to_its_own_bytes(root: Path) -> None:
    for name in ODD:
        put(root, name, name)
    entries = list(FolderStore(root).list())
    assert len({entry.name for entry in entries}) == len(ODD)
    read = []
    for entry in entries:
        with FolderStore(root).open(entry.name, entry.version) as file:
            read.append(file.read())
    assert sorted(read) == sorted(ODD)


def test_listed_names_are_text_that_can_be_stored_and_printed(root: Path) -> None:
    for name in ODD:
        put(root, name)
    for name in names(FolderStore(root)):
        assert name.encode("utf-8")
        assert name.isprintable()


def test_names_in_folders_are_relative_and_deep_ones_are_found(root: Path) -> None:
    put(root, b"2026/11/03/rock.csv")
    put(root, b"/".join([b"d" * 200] * 5) + b"/" + b"f" * 20)
    assert sorted(map(len, names(FolderStore(root)))) == [19, 1025]
    assert [e.name for e in FolderStore(root).list("2026/11")] == ["2026/11/03/rock.csv"]


def test_folders_are_no_files(root: Path) -> None:
    (root / "empty.csv").mkdir()
    assert names(FolderStore(root)) == []


def test_an_empty_file_is_listed(root: Path) -> None:
    put(root, b"empty.csv", b"")
    assert [entry.size for entry in FolderStore(root).list()] == [0]


def test_links_are_not_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.csv").write_text("s")
    (root / "file.csv").symlink_to(tmp_path / "secret" / "key.csv")
    (root / "folder").symlink_to(tmp_path / "secret")
    (root / "loop").symlink_to(root)
    (root / "nowhere.csv").symlink_to(tmp_path / "nowhere")
    assert names(FolderStore(root)) == []
    assert sorted(FolderStore(root).others()) == ["file.csv", "folder", "loop", "nowhere.csv"]


def test_pipes_and_sockets_are_not_listed(root: Path) -> None:
    os.mkfifo(root / "pipe.csv")
    assert names(FolderStore(root)) == []
    assert list(FolderStore(root).others()) == ["pipe.csv"]


def test_a_file_that_a_link_replaced_is_not_read(root: Path, tmp_path: Path) -> None:
    put(root, b"a.csv")
    (entry,) = FolderStore(root).list()
    (root / "a.csv").unlink()
    (tmp_path / "secret").write_text("s")
    (root / "a.csv").symlink_to(tmp_path / "secret")
    with pytest.raises(SourceUnreachable), FolderStore(root).open(entry.name, entry.version):
        pass


@pytest.mark.parametrize("name", ["../secret", "%2E%2E/secret", "..%2Fsecret"])
def test_a_name_that_climbs_out_is_not_opened(root: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("s")
    facts = (tmp_path / "secret").stat()
    version = f"{facts.st_ino}-{facts.st_mtime_ns}-{facts.st_size}"
    with pytest.raises(SourceUnreachable), FolderStore(root).open(name, version):
        pass


def test_every_write_is_a_new_version(root: Path) -> None:
    seen = set()
    for text in (b"1", b"22", b"33"):
        put(root, b"a.csv", text)
        os.utime(root / "a.csv", ns=(1, len(seen) + 1))
        seen |= {entry.version for entry in FolderStore(root).list()}
    assert len(seen) == 3
    (root / "a.csv").rename(root / "kept.csv")
    put(root, b"a.csv", b"33")
    os.utime(root / "a.csv", ns=(1, 3))
    assert {entry.version for entry in FolderStore(root).list() if entry.name == "a.csv"} - seen


def test_a_file_that_was_rewritten_before_it_was_opened_is_superseded(root: Path) -> None:
    put(root, b"a.csv")
    (entry,) = FolderStore(root).list()
    put(root, b"a.csv", b"longer")
    with pytest.raises(Superseded), FolderStore(root).open(entry.name, entry.version):
        pass


def test_a_file_that_grows_under_the_read_is_superseded(root: Path) -> None:
    put(root, b"a.csv", b"x" * 100)
    (entry,) = FolderStore(root).list()

    def read() -> None:
        with FolderStore(root).open(entry.name, entry.version) as file:
            file.read()
            with (root / "a.csv").open("ab") as more:
                more.write(b"more")

    with pytest.raises(Superseded):
        read()


def test_a_file_that_is_gone_is_told_apart(root: Path) -> None:
    put(root, b"day/a.csv")
    (entry,) = FolderStore(root).list()
    (root / "day" / "a.csv").unlink()
    with pytest.raises(FileNotFoundError), FolderStore(root).open(entry.name, entry.version):
        pass
    (root / "day").rmdir()
    with pytest.raises(FileNotFoundError), FolderStore(root).open(entry.name, entry.version):
        pass


def test_a_missing_folder_is_unreachable_never_empty(root: Path) -> None:
    with pytest.raises(SourceUnreachable, match="read access") as caught:
        list(FolderStore(root / "nowhere").list())
    assert caught.value.object == str(root / "nowhere")


def test_a_file_in_a_folders_place_is_unreachable(root: Path) -> None:
    put(root, b"file")
    with pytest.raises(SourceUnreachable):
        list(FolderStore(root / "file").list())


def test_a_folder_that_vanishes_under_the_listing_is_unreachable(root: Path) -> None:
    put(root, b"a.csv")
    put(root, b"day/b.csv")
    listing = FolderStore(root).list()
    next(listing)
    (root / "day" / "b.csv").unlink()
    (root / "day").rmdir()
    with pytest.raises(SourceUnreachable):
        list(listing)


@contextmanager
def as_an_ordinary_user() -> Iterator[None]:
    """Nothing is unreadable for root."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.fixture
def open_root() -> Iterator[Path]:
    """A folder that every user reaches."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_folder_without_permission_is_unreachable(open_root: Path) -> None:
    put(open_root, b"closed/a.csv")
    with as_an_ordinary_user():
        assert len(list(FolderStore(open_root).list())) == 1
    (open_root / "closed").chmod(0)
    with as_an_ordinary_user(), pytest.raises(SourceUnreachable):
        list(FolderStore(open_root).list())
    (open_root / "closed").chmod(0o700)


def test_a_file_without_permission_is_unreachable(open_root: Path) -> None:
    put(open_root, b"a.csv")
    store = FolderStore(open_root)
    (entry,) = store.list()
    (open_root / "a.csv").chmod(0)
    with as_an_ordinary_user(), pytest.raises(SourceUnreachable):  # noqa: SIM117
        with store.open(entry.name, entry.version):
            pass


def test_a_folder_that_a_link_replaced_is_neither_read_nor_written(
    root: Path, tmp_path: Path
) -> None:
    put(root, b"day/a.csv")
    (entry,) = FolderStore(root).list()
    (root / "day").rename(tmp_path / "day")
    (root / "day").symlink_to(tmp_path / "day")
    store = FolderStore(root)
    with pytest.raises(SourceUnreachable), store.open(entry.name, entry.version):
        pass
    with pytest.raises(SourceUnreachable):
        store.remove(entry.name, entry.version)
    with pytest.raises(SourceUnreachable):
        store.create("day/b.csv", BytesIO(b"x"))
    assert (tmp_path / "day" / "a.csv").exists()


def test_a_listing_looks_only_into_folders_that_can_hold_the_prefix(root: Path) -> None:
    put(root, b"2026/11/03/rock.csv")
    put(root, b"2026/10/31/rock.csv")
    (root / "2026" / "10").rename(root / "2026" / "10-was")
    (root / "2026" / "10").write_text("a file")
    assert [e.name for e in FolderStore(root).list("2026/11/")] == ["2026/11/03/rock.csv"]
    assert [e.name for e in FolderStore(root).list("2026/1", after="2026/10-was0")] == [
        "2026/11/03/rock.csv"
    ]


def test_a_create_leaves_nothing_beside_it(root: Path) -> None:
    store = FolderStore(root)
    store.create("day/a.csv", BytesIO(b"1"))
    with pytest.raises(FileExistsError):
        store.create("day/a.csv", BytesIO(b"2"))
    assert os.listdir(root / "day") == ["a.csv"]  # noqa: PTH208
