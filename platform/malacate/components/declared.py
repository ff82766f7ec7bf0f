"""Declarations as written: contracts found, tables matched, mistakes answered with file and line.

Also the routes that a folder of declarations makes, for those who work without Dagster's graph.
"""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import dagster as dg
import pydantic

from malacate.contracts.document import Document, known_fields, load_all
from malacate.contracts.odcs import read_contract
from malacate.contracts.table import Table
from malacate.errors import ConfigError
from malacate.orchestration.raw_assets import RawAsset
from malacate.orchestration.target import TARGETS, chosen

CONTRACT = "contract.odcs.yaml"
_FILE_KEYS = ("type", "attributes", "template_vars_module", "requirements", "post_processing")


class Declaration(Protocol):
    """A component that loads raw tables."""

    def raw_assets(self, folder: Path) -> list[RawAsset]:
        """Its routes; ``folder`` is where its ``defs.yaml`` and contract stand."""


@runtime_checkable
class Observable(Protocol):
    """A component whose source can be asked what it has."""

    source: str

    def observed(self) -> list[Table]:
        """Its tables as they are at the source now, as a contract could promise them."""


@runtime_checkable
class ForMl(Protocol):
    """A component whose hours may be files."""

    @property
    def names_for_ml(self) -> Sequence[str]:
        """The names of such files: each ``files_for_ml``."""


def promised(folder: Path, source: str, names: list[str]) -> dict[str, Table]:
    """The contract's tables for ``names``; raise ``ConfigError`` for one that it lacks."""
    path = folder / CONTRACT
    tables = read_contract(path, source)
    for name in names:
        if name not in tables:
            raise ConfigError(
                f"table {name!r} has no contract",
                f"Write it with `malacate contract draft`, or use one of {sorted(tables)}.",
                source=source,
                object=str(path),
                reason="no_contract",
            )
    return {name: tables[name] for name in names}


def engine_of(context: dg.ComponentLoadContext) -> str:
    """The kind of warehouse of the chosen target; ``targets.yaml`` is beside the declarations."""
    return chosen(context.defs_module_path.parent / TARGETS).engine


def raw_assets(defs_folder: Path) -> list[RawAsset]:
    """Every route declared below ``defs_folder``.

    Two for one table, two sources whose drops stand in one place, and two of one ``files_for_ml``
    are an error.
    """
    found: dict[dg.AssetKey, str] = {}
    places: dict[str, str] = {}
    files: dict[str, str] = {}
    assets: list[RawAsset] = []
    for document, component in components(defs_folder):
        _require_own_place(document, component, places)
        _require_own_name(document, component, files)
        for asset in _made(document, component):
            _require_own_tables(document, asset, found)
            assets.append(asset)
    return assets


def _require_own_tables(document: Document, asset: RawAsset, found: dict[dg.AssetKey, str]) -> None:
    beside = [dg.AssetKey(list(asset.beside.table.name.key))] if asset.beside else []
    for key in (*asset.keys, *beside):
        if key in found:
            what = f"{key.to_user_string()} is declared twice, first in {found[key]}"
            raise document.error((), what, "Give one of the two another name.", "two_sources")
        found[key] = str(document.path)


def _require_own_place(document: Document, component: Declaration, places: dict[str, str]) -> None:
    """A place that was copied from another source's declaration would give each one's drops to
    the other."""
    place, source = getattr(component, "folder", None), getattr(component, "source", "")
    if place is None:
        return
    first = places.setdefault(place.rstrip("/"), source)
    if first != source:
        what = f"the drops of {source} stand where those of {first} do: {place}"
        raise document.error(
            ("attributes", "folder"), what, "Give each source a place of its own.", "shared_place"
        )


def _require_own_name(document: Document, component: Declaration, files: dict[str, str]) -> None:
    for name in component.names_for_ml if isinstance(component, ForMl) else ():
        if name in files:
            what = f"ml/{name} is declared twice, first in {files[name]}"
            advice = "Give `files_for_ml` of one of the two another name."
            raise document.error(("attributes",), what, advice, "two_files_for_ml")
        files[name] = str(document.path)


def _made(document: Document, component: Declaration) -> list[RawAsset]:
    try:
        return component.raw_assets(document.path.parent)
    except ConfigError as error:
        error.object = error.object or f"{document.path}:{document.line(('attributes',))}"
        raise


def components(defs_folder: Path) -> Iterator[tuple[Document, Declaration]]:
    """Every declared component that loads raw tables, with the document that declares it."""
    for path in sorted(defs_folder.rglob("defs.yaml")):
        for document in load_all(path):
            built = _component(document)
            if built is not None:
                yield document, built


def load_declared(defs_folder: Path) -> dg.Definitions:
    """Everything below ``defs_folder``; raise ``ConfigError`` for the first mistake in YAML.

    Loaded from the folder, not from the root that Dagster puts above it: that one imports every
    installed library that registers components, the clouds' clients among them.
    """
    raw_assets(defs_folder)
    with warnings.catch_warnings():
        # Dagster warns of unfinished features that it uses itself, once for every component.
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        try:
            return dg.ComponentTree.for_project(defs_folder).build_defs_at_path(defs_folder)
        except Exception as error:
            if isinstance(error.__cause__, ConfigError):
                # Dagster wraps it in a picture of the folder; it names file and line itself.
                raise error.__cause__ from None
            raise


def _component(document: Document) -> Declaration | None:
    from malacate import components as kinds_of

    data = document.data
    document.known((), data, _FILE_KEYS)
    kinds = {f"malacate.components.{name}": name for name in kinds_of.__all__}
    named = str(data.get("type", ""))
    if not named.startswith("malacate."):
        return None
    document.known(("type",), {named: None}, kinds)
    model = getattr(kinds_of, kinds[named])
    attributes = data.get("attributes") or {}
    known_fields(document, ("attributes",), attributes, model)
    try:
        built = model(**attributes)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ("attributes", *first["loc"])
        raise document.error(
            place, f"{_path(first['loc'])}: {first['msg']}", "Correct it."
        ) from error
    return built if hasattr(built, "raw_assets") else None


def _path(place: tuple[str | int, ...]) -> str:
    return ".".join(map(str, place)) or "attributes"
