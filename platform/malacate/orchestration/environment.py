"""Where this platform keeps its things, and values that come by reference.

``${NAME}`` in a YAML value is read when it is needed: from the environment, else from the file
``env`` in the platform's home. A value is never copied into a definition.
"""

import os
import re
from pathlib import Path

from dotenv import dotenv_values

from malacate.errors import ConfigError

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PASSWORD_IN_URL = re.compile(r"://[^/@:\s]*:[^/@\s]+@")


def home() -> Path:
    """``MALACATE_HOME``, else the nearest ``.malacate`` above the working directory."""
    if named := os.environ.get("MALACATE_HOME"):
        return Path(named).absolute()
    here = Path.cwd()
    standing = (folder / ".malacate" for folder in (here, *here.parents))
    return next((folder for folder in standing if folder.is_dir()), here / ".malacate")


def resolve(text: str) -> str:
    """``text`` with its references filled in; raise ``ConfigError`` naming one that is not set."""
    given = {**dotenv_values(home() / "env"), **os.environ, "MALACATE_HOME": str(home())}

    def value(match: re.Match[str]) -> str:
        found = given.get(match[1])
        if found is None:
            raise ConfigError(
                f"the variable {match[1]} is not set",
                f"Export {match[1]}, or write it into {home() / 'env'}.",
                object=text,
                reason="missing_variable",
            )
        return found

    return _REFERENCE.sub(value, text)


def by_reference(text: str) -> str:
    """``text`` itself, unless a password stands in it."""
    if _PASSWORD_IN_URL.search(_REFERENCE.sub("", text)):
        raise ConfigError(
            "a secret is written into a file",
            "Put it into an environment variable and refer to it: ${NAME}.",
            expected="a URL without a password, or ${NAME}",
            reason="inline_secret",
        )
    return text
