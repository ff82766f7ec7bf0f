"""The code location: everything declared below ``defs``, on the target that is chosen."""

from pathlib import Path

import dagster as dg

from malacate.components.declared import validate

DEFS = Path(__file__).parent / "defs"


@dg.definitions
def defs() -> dg.Definitions:
    """All assets, checks, sensors and resources; mistakes in YAML are told with file and line."""
    validate(DEFS)
    return dg.load_from_defs_folder(path_within_project=DEFS)
