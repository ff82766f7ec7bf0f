"""The code location: everything declared below ``defs``, on the target that is chosen."""

from pathlib import Path

import dagster as dg

from malacate.components.declared import load_declared

DEFS = Path(__file__).parent / "defs"


@dg.definitions
def defs() -> dg.Definitions:
    """All assets, checks, sensors and resources; mistakes in YAML are told with file and line."""
    return load_declared(DEFS)
