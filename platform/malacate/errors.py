"""Every error a user can meet: what failed, where, what was expected, and what to do next.

Errors of libraries are turned into one of these at the seam where they arise.
"""

from dataclasses import dataclass, field


@dataclass
class MalacateError(Exception):
    """Base of all: the facts stay readable as fields, the message reads as advice.

    ``source`` is the source and table, ``object`` the file, window or row, ``position`` the place
    in it (line, byte, column).
    """

    what: str
    advice: str
    source: str = ""
    object: str = ""
    position: str = ""
    expected: str = ""
    actual: str = ""
    reason: str = field(default="error", kw_only=True)

    def __str__(self) -> str:
        where = ", ".join(part for part in (self.source, self.object, self.position) if part)
        facts = [f"{self.what} ({where})" if where else self.what]
        if self.expected:
            facts.append(f"expected {self.expected}")
        if self.actual:
            facts.append(f"got {self.actual}")
        return f"{'; '.join(facts)}. {self.advice}"


class ConfigError(MalacateError):
    """A YAML file, a variable or a flag is wrong; nothing was read or written."""


class ContractError(ConfigError):
    """A contract cannot be read, or promises what cannot be kept."""


class SchemaDrift(MalacateError):
    """What a source delivers is not what its contract says; nothing of it was loaded."""


class UnreadableFile(MalacateError):
    """A whole file goes to quarantine; ``reason`` is the code that the ledger keeps."""


class SourceUnreachable(MalacateError):
    """A source did not answer; trying again later may help."""


class SourceGap(MalacateError):
    """Changes were lost at the source before they could be read; a new snapshot is due."""


class Superseded(MalacateError):
    """A newer version of the same object exists; this one is not loaded."""


class Fenced(MalacateError):
    """Another worker took this claim over; this worker must stop."""


class WarehouseBusy(MalacateError):
    """Another process holds the warehouse; nothing was written."""


class WarehouseError(MalacateError):
    """The warehouse refused a statement or a load; nothing of it stands."""


class OutOfBudget(MalacateError):
    """A statement would cost more than its asset may spend; it was not run."""


class PipelineFailed(MalacateError):
    """A program that was to compute something elsewhere did not; nothing of it was published."""


class OutOfResources(MalacateError):
    """The machine has no room, no file handle or no right left; what was done stands."""


def refused(error: Exception, place: str = "") -> OutOfResources:
    """What the system said, as an error that tells what to do."""
    return OutOfResources(
        "the machine refused to write or to open a file",
        "Make room on the disk, allow more open files, or give this user the right to write; "
        "then run again: nothing was lost.",
        object=place,
        actual=(str(error).splitlines() or [type(error).__name__])[0],
        reason="out_of_resources",
    )


class LakeError(MalacateError):
    """The object store refused or lost something."""
