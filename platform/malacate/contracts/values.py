"""What may stand where the standard allows anything: our properties, bounds, promises."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pydantic
from pydantic import AfterValidator, Field, Strict, TypeAdapter

from malacate.contracts.document import Document, Place

ADVICE = {
    "extraColumns": "Use 'reject' or 'ignore'.",
    "quarantineLimit": "Use a share of the rows, a number from 0 to 1.",
    "unit": "Use text, such as 't'; in a promise one of 'm', 'h', 'd'.",
    "aliases": "Use a list of names, each in quotes: ['tonnes', 'tons'].",
    "since": "Use the version of the contract that added the column, in quotes.",
    "format": "Use the text of a format, in quotes.",
    "immutable": "Use true or false.",
    "minimum": "Use a number.",
    "maximum": "Use a number.",
    "pattern": "Use a regular expression as RE2 takes it, in quotes.",
    "maxLength": "Use a whole number.",
    "value": "Use a number above 0.",
}


def _expression(pattern: str) -> str:
    pc.match_substring_regex(pa.array([""]), pattern)
    return pattern


def _of(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


_Number = Annotated[int, Strict()] | Annotated[float, Strict()]
_Count = Annotated[int, Strict(), Field(ge=0)]

TABLE: Mapping[str, TypeAdapter[Any]] = {
    "extraColumns": _of(Literal["reject", "ignore"]),
    "quarantineLimit": _of(Annotated[float, Field(ge=0, le=1)]),
}
COLUMN: Mapping[str, TypeAdapter[Any]] = {
    "unit": _of(str),
    "aliases": _of(list[str]),
    "since": _of(str | _Number),
    "format": _of(str),
    "immutable": _of(Annotated[bool, Strict()]),
}
OPTIONS: Mapping[str, TypeAdapter[Any]] = {
    "minimum": _of(_Number),
    "maximum": _of(_Number),
    "pattern": _of(Annotated[str, AfterValidator(_expression)]),
    "maxLength": _of(_Count),
}
PROMISE: Mapping[str, TypeAdapter[Any]] = {
    "value": _of(Annotated[float, Field(gt=0)]),
    "unit": _of(Literal["m", "min", "minute", "h", "hour", "hours", "d", "day", "days"] | None),
}


def require(
    document: Document,
    place: Place,
    given: Mapping[str, Any],
    allowed: Mapping[str, TypeAdapter[Any]],
) -> None:
    """Raise for the first value of ``given`` that its key cannot have, with its line."""
    for key, value in given.items():
        try:
            allowed[key].validate_python(value)
        except (pydantic.ValidationError, pa.ArrowInvalid) as error:
            facts = error.errors() if isinstance(error, pydantic.ValidationError) else None
            what = f"{value!r} cannot be a {key}: {facts[-1]['msg'] if facts else error}"
            raise document.error((*place, key), what, ADVICE[key], "bad_value") from error
