"""Whether tests run in their long form, as ``make faults`` has them: more kills, more histories."""

import os

IS_LONG = os.environ.get("MALACATE_LONG") == "1"
