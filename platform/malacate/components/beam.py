"""A pipeline of Beam as a declaration has it: its runner, that one's options, and its Python."""

import dagster as dg

from malacate.orchestration.environment import by_reference
from malacate.orchestration.hours_beam import Beam


class BeamOf(dg.Model, dg.Resolvable):
    """Where Beam runs. ``options`` are those of its ``runner``, by Beam's names; a secret in them
    is a reference, ``${NAME}``. ``python`` is that of the environment that has Beam.
    """

    runner: str = "DirectRunner"
    options: dict[str, str | int | float | bool | list[str]] = {}  # noqa: RUF012
    python: str = "${MALACATE_BEAM_PYTHON}"

    def pipeline(self) -> Beam:
        """How to start it."""
        for value in self.options.values():
            for text in value if isinstance(value, list) else [str(value)]:
                by_reference(text)
        return Beam(self.runner, dict(self.options), self.python)
