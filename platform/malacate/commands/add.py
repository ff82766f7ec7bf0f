"""``malacate add``: a source drafted from a sample of what it delivers."""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from malacate.commands.project import company
from malacate.components.declared import CONTRACT, raw_assets
from malacate.components.file_drops import identifier, promisable
from malacate.contracts.draft import draft
from malacate.contracts.table import Table
from malacate.errors import ConfigError
from malacate.formats import FileFormat, FormatName, observed
from malacate.names import TableName, legal

app = typer.Typer(help="New sources.", no_args_is_help=True)

_MAGIC: tuple[tuple[bytes, FormatName], ...] = (
    (b"Obj\x01", "avro"), (b"PAR1", "parquet"), (b"PK\x03\x04", "xlsx"),
)  # fmt: skip
_ENDINGS: dict[str, FormatName] = {
    ".avro": "avro", ".parquet": "parquet", ".xlsx": "xlsx", ".csv": "csv", ".tsv": "csv",
    ".txt": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
}  # fmt: skip
_PACKED = (".gz", ".zst")
_TYPED = {
    "avro": "Types are those that the file declares.",
    "parquet": "Types are those that the file declares.",
    "csv": "CSV has no types: every column is text until you give it one. Nothing was guessed.",
    "jsonl": "guessed from the first rows: check every type.",
    "xlsx": "guessed from the first rows: check every type.",
}
_DEFS = """\
# Drafted from {sample}. Review it with {contract} beside it, then drop files into the folder.
type: malacate.components.FileDrops
attributes:
  source: {source}
  folder: {folder}
  tables:
    - name: {table}
      files: [{pattern}]
      format: {{name: {form}{options}}}{remark}
"""


@app.callback()
def _group() -> None:
    """New sources."""


@app.command()
def source(
    sample: Annotated[Path, typer.Argument(help="A file such as the source delivers.")],
    name: Annotated[str, typer.Option("--source", help="What the source is called.")],
    table: Annotated[str | None, typer.Option(help="Its table; the file's name else.")] = None,
    folder: Annotated[str | None, typer.Option(help="Where drops come; the sample's else.")] = None,
    defs: Annotated[Path | None, typer.Option(help="The folder of declarations.")] = None,
) -> None:
    """Draft defs.yaml and contract.odcs.yaml from a sample file; nothing is loaded."""
    table = legal(table or identifier(_stem(sample)), "table")
    home = (defs or company() / "defs") / legal(name, "source")
    form = _form(sample)
    columns = promisable(observed(sample, form))
    if not columns:
        raise ConfigError(
            "the sample has no columns",
            "Use one that has, or write the contract by hand.",
            object=str(sample),
            reason="no_columns",
        )
    declared = _declared(sample, name, table, folder or str(sample.resolve().parent), form)
    promised = draft(name, [Table(TableName(f"raw_{name}", table), columns)])
    texts = {"defs.yaml": declared, CONTRACT: f"# Draft. {_TYPED[form.name]}\n{promised}"}
    _require_new(home, texts)
    _try(texts)
    home.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (home / file).write_text(text)
        typer.echo(f"{home / file}")
    typer.echo(f"{len(columns)} columns; {_TYPED[form.name]}")
    typer.echo(f"Review both, then materialize raw/{name}/{table}, or leave it to its sensor.")


def _stem(sample: Path) -> str:
    return sample.name.partition(".")[0]


def _form(sample: Path) -> FileFormat:
    try:
        with sample.open("rb") as file:
            start = file.read(1 << 16)
    except OSError as error:
        raise ConfigError(
            "the sample cannot be read", "Name a file that is here and readable.",
            object=str(sample), actual=error.strerror or str(error), reason="no_file",
        ) from error  # fmt: skip
    suffixes = [suffix.lower() for suffix in sample.suffixes if suffix.lower() not in _PACKED]
    ending = _ENDINGS.get(suffixes[-1] if suffixes else "")
    kind = next((known for magic, known in _MAGIC if start.startswith(magic)), ending)
    if kind is None:
        raise ConfigError(
            "the sample's format is not known by its first bytes nor by its ending",
            f"Use a file that ends in one of {', '.join(_ENDINGS)}.",
            object=str(sample), reason="unknown_format",
        )  # fmt: skip
    return FileFormat(name=kind, delimiter=_delimiter(start) if kind == "csv" else ",")


def _delimiter(start: bytes) -> str:
    """The sign that the first line has most of; the declaration says that it was guessed."""
    line = start.splitlines()[0] if start else b""
    return max(",;\t|", key=lambda sign: line.count(sign.encode()))


def _declared(sample: Path, name: str, table: str, folder: str, form: FileFormat) -> str:
    is_guessed = form.delimiter != ","
    ending = "".join(suffix for suffix in sample.suffixes[-2:] if suffix.lower() in
                     (*_ENDINGS, *_PACKED)) or sample.suffix  # fmt: skip
    return _DEFS.format(
        sample=_quoted(sample.name),
        contract=CONTRACT,
        source=name,
        folder=_quoted(folder),
        table=table,
        pattern=_quoted(f"*{ending}"),
        form=form.name,
        options=f", delimiter: {_quoted(form.delimiter)}" if is_guessed else "",
        remark="  # delimiter guessed from the first line" if is_guessed else "",
    )


def _quoted(text: str) -> str:
    """As a YAML scalar in double quotes, whatever it holds."""
    safe = text.encode("unicode_escape").decode().replace('"', '\\"')
    return f'"{safe}"'


def _require_new(home: Path, texts: dict[str, str]) -> None:
    standing = [str(home / file) for file in texts if (home / file).exists()]
    if standing:
        raise ConfigError(
            "the source is declared already",
            "Choose another --source, or edit what is there.",
            object=", ".join(standing),
            reason="already_there",
        )


def _try(texts: dict[str, str]) -> None:
    """What is written loads: mistakes show before anything stands in the project."""
    scratch = Path(tempfile.mkdtemp(prefix="malacate-"))
    try:
        for file, text in texts.items():
            (scratch / file).write_text(text)
        raw_assets(scratch)
    finally:
        shutil.rmtree(scratch)
