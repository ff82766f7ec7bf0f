"""Views with stable names for those who read: which columns, which rows, and who may see them."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, cast

import dagster as dg
from pydantic import Field

from malacate.components.promised_columns import Columns, declarations, promised_columns
from malacate.contracts.document import Document, Place
from malacate.errors import ConfigError
from malacate.names import TableName, legal
from malacate.orchestration.shares import shared
from malacate.warehouse.views import LAYER, Reader, View, condition

Member = Annotated[str, Field(pattern=r"^(user|group|serviceAccount|domain):[\w.%+@-]+$")]


class SeenBy(dg.Model, dg.Resolvable):
    """A reader, and the condition of the rows that this one may see; all without one."""

    reader: str
    rows: str | None = None


class ViewOf(dg.Model, dg.Resolvable):
    """A view of ``table``: its ``columns``, or all but those of the classifications ``without``.

    Columns of the classifications ``masked`` are there and null. ``renamed`` gives columns of the
    view whose name differs the table's name, so that readers are not told of a change beneath.
    ``rows`` holds for every reader.
    """

    name: str
    table: str
    description: str
    seen_by: list[SeenBy] = Field(min_length=1)
    columns: list[str] | None = None
    without: list[str] | None = None
    masked: list[str] | None = None
    renamed: dict[str, str] | None = None
    rows: str | None = None


class ConsumptionViews(dg.Component, dg.Model, dg.Resolvable):
    """Views in the schema ``share`` for readers, each an asset that follows its table.

    ``readers`` gives each of them its members in the cloud's IAM.
    """

    readers: dict[str, list[Member]]
    views: list[ViewOf] = Field(min_length=1)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """An asset for each view."""
        known = promised_columns(context.defs_module_path)
        document = self._document(context)
        made = [_Declared(self, number, document, known) for number in range(len(self.views))]
        return dg.Definitions(assets=[one.asset() for one in made])

    def _document(self, context: dg.ComponentLoadContext) -> Document:
        """That which declares this component; members of a reader are declared in one alone."""
        names = [one.name for one in self.views]
        declared = list(declarations(context.defs_module_path, type(self).__name__))
        ours = next(one for one in declared if _views(one) == names)
        others = {name for one in declared if one is not ours for name in _readers(one)}
        for reader in sorted(others & self.readers.keys()):
            raise ours.error(
                ("attributes", "readers", reader), f"reader {reader!r} is declared twice",
                "Declare all views of a reader in one document.",
            )  # fmt: skip
        return ours


def _views(document: Document) -> list[str]:
    return [view["name"] for view in document.data["attributes"]["views"]]


def _readers(document: Document) -> Iterable[str]:
    return cast(Iterable[str], document.data["attributes"]["readers"])


class _Declared:
    """One view of a document, held against what is promised of its table."""

    def __init__(
        self,
        declared: ConsumptionViews,
        number: int,
        document: Document,
        known: Mapping[TableName, Columns],
    ) -> None:
        self._readers = declared.readers
        self._view = declared.views[number]
        self._document = document
        self._place: Place = ("attributes", "views", number)
        self._table = TableName.of(self._view.table.split("/"))
        if self._table not in known:
            tables = ["/".join(name.key) for name in known]
            raise self._unknown(("table",), self._view.table, tables, "table")
        self._known = known[self._table]

    def asset(self) -> dg.AssetsDefinition:
        """Raises ``ConfigError`` with file and line for what its table does not have."""
        view = self._view
        columns = self._columns()
        classes = view.masked or []
        masked = [
            n for n, column in columns.items() if self._known[column].classification in classes
        ]
        name = TableName(LAYER, legal(view.name, "view"))
        rows = self._condition(("rows",), view.rows)
        made = View(name, self._table, columns, tuple(self._seen_by()), masked, rows)
        return shared(made, self._known, view.description)

    def _columns(self) -> dict[str, str]:
        """The view's columns, each with the table's."""
        view, renamed = self._view, self._view.renamed or {}
        if (view.columns is None) == (view.without is None):
            raise self._document.error(
                self._place, f"view {view.name!r} says both columns and without, or neither",
                "List its columns, or the classifications that it leaves out.",
            )  # fmt: skip
        for name, column in renamed.items():
            self._require(("renamed", name), column)
        columns = self._listed(renamed) if view.without is None else self._left(renamed)
        for name in renamed:
            if name not in columns:
                raise self._unknown(("renamed", name), name, columns, "column of the view")
        return columns

    def _listed(self, renamed: Mapping[str, str]) -> dict[str, str]:
        names = self._view.columns or []
        for number, name in enumerate(names):
            self._require(("columns", number), renamed.get(name, name))
        return {name: renamed.get(name, name) for name in names}

    def _left(self, renamed: Mapping[str, str]) -> dict[str, str]:
        names = {column: name for name, column in renamed.items()}
        hidden = self._view.without or []
        shown = [one.name for one in self._known.values() if one.classification not in hidden]
        return {names.get(column, column): column for column in shown}

    def _seen_by(self) -> Iterable[Reader]:
        named: set[str] = set()
        for number, one in enumerate(self._view.seen_by):
            place = ("seen_by", number)
            if one.reader in named:
                raise self._document.error(
                    (*self._place, *place), f"reader {one.reader!r} stands twice",
                    "Join what he may see by `or`.",
                )  # fmt: skip
            named.add(one.reader)
            if not self._readers.get(one.reader):
                raise self._unknown((*place, "reader"), one.reader, self._readers, "reader")
            rows = self._condition((*place, "rows"), one.rows)
            yield Reader(legal(one.reader, "reader"), tuple(self._readers[one.reader]), rows)

    def _condition(self, place: Place, text: str | None) -> str:
        try:
            return condition(text, self._known) if text else ""
        except ConfigError as error:
            where = self._document.line((*self._place, *place))
            error.position = error.object
            error.object = f"{self._document.path}:{where}"
            raise

    def _require(self, place: Place, column: str) -> None:
        if column not in self._known:
            raise self._unknown(place, column, self._known, f"column of {self._view.table}")

    def _unknown(self, place: Place, name: str, known: Iterable[str], what: str) -> ConfigError:
        near = get_close_matches(name, list(known), n=3, cutoff=0.4) or sorted(known)
        return self._document.error(
            (*self._place, *place), f"there is no {what} {name!r}", f"Use {' or '.join(near)}.",
            f"unknown_{what.split()[0]}",
        )  # fmt: skip
