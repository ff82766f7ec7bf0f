"""A YAML file with the line of every key: duplicates, tabs and unknown keys get a clear answer."""

import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import pydantic
import yaml

from malacate.errors import ConfigError

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Place = tuple[str | int, ...]
"""A path into the document: ``("schema", 0, "properties", 2, "name")``."""


@dataclass
class Document:
    """Parsed YAML, and at which line (1-based) each of its keys and items stands."""

    path: Path
    data: Any = None
    lines: dict[Place, int] = field(default_factory=dict)

    def line(self, place: Place) -> int:
        """Line of ``place``, or of the nearest thing that encloses it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def error(self, place: Place, what: str, advice: str, reason: str = "bad_yaml") -> ConfigError:
        """A ``ConfigError`` that points at ``place``."""
        where = f"{self.path}:{self.line(place)}"
        return ConfigError(what, advice, object=where, reason=reason)

    def known(self, place: Place, given: Mapping[str, Any], allowed: Iterable[str]) -> None:
        """Raise for the first key of ``given`` that is not allowed, naming the nearest one."""
        choices = sorted(allowed)
        for key in given:
            if key not in choices:
                near = get_close_matches(str(key), choices, n=1, cutoff=0.4)
                advice = f"Did you mean {near[0]!r}?" if near else f"Use one of {choices}."
                raise self.error((*place, key), f"unknown key {key!r}", advice, "unknown_key")


def known_fields(
    document: Document, place: Place, data: Any, model: type[pydantic.BaseModel]
) -> None:
    """Raise for the first key of ``data``, however deep, that ``model`` has no field for."""
    fields = {f.alias or name: f.annotation for name, f in model.model_fields.items()}
    document.known(place, data, fields)
    for key, value in data.items():
        nested = next(_models(fields[key], model), None)
        items = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, item in items if nested else ():
            if nested and isinstance(item, dict):
                inner = (*place, key) if index is None else (*place, key, index)
                known_fields(document, inner, item, nested)


def _models(
    annotation: Any, within: type[pydantic.BaseModel]
) -> Iterator[type[pydantic.BaseModel]]:
    named = getattr(annotation, "__forward_arg__", annotation)
    if isinstance(named, str):
        annotation = getattr(sys.modules[within.__module__], named, None)
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner, within)


def load(path: Path) -> Document:
    """Read one YAML document; raise ``ConfigError`` with file and line for what is not valid."""
    return load_all(path)[0]


def load_all(path: Path) -> list[Document]:
    """Read every document of a YAML file (they are separated by ``---``)."""
    try:
        nodes = list(yaml.compose_all(path.read_text("utf-8"), Loader=_LOADER))
    except OSError as error:
        raise ConfigError(
            "a file is missing or cannot be read",
            f"Create {path}, or correct the path.",
            object=str(path),
            actual=str(error.strerror),
            reason="unreadable_yaml",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise ConfigError(
            f"not valid YAML: {getattr(error, 'problem', error)}",
            "Indent with spaces, never tabs; quote text that holds ': ' or starts with a sign.",
            object=f"{path}:{line}",
            reason="bad_yaml",
        ) from error
    return [_document(path, node) for node in nodes if node is not None] or [Document(path, {})]


def _document(path: Path, node: yaml.Node) -> Document:
    document = Document(path)
    document.data = _value(document, node, ())
    return document


def _value(document: Document, node: yaml.Node, place: Place) -> Any:
    document.lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(document, node, place)
    if isinstance(node, yaml.SequenceNode):
        return [_value(document, item, (*place, i)) for i, item in enumerate(node.value)]
    return _scalar(node)


def _mapping(document: Document, node: yaml.MappingNode, place: Place) -> dict[Hashable, Any]:
    values: dict[Hashable, Any] = {}
    for key_node, value_node in node.value:
        key = _scalar(key_node)
        document.lines[(*place, key)] = key_node.start_mark.line + 1
        if key in values:
            advice = "Keep one of the two; YAML would silently take the last."
            raise document.error(
                (*place, key), f"key {key!r} stands twice", advice, "duplicate_key"
            )
        values[key] = _value(document, value_node, (*place, key))
    return values


def _scalar(node: yaml.Node) -> Any:
    loader = _LOADER("")
    try:
        return loader.construct_object(node, deep=True)
    finally:
        loader.dispose()
