"""The errors a user can cause or fix, one class per kind; messages say what was found, what was expected, what to do.

```
AnthemError            exit 1
├── BundleError        exit 3   a bundle is damaged, foreign or newer
├── DataError          exit 4   an input file, text or judgment cannot be used
├── NodeError          exit 5   the local OpenSearch node cannot be fetched, started or stopped
├── ClusterError       exit 6   a cluster refuses, fails or cannot be reached
├── ParityError        exit 7   a graph does not compute what the model computes
├── PartialError       exit 8   some products could not be written; the rest were
└── ExtraError         exit 9   an optional dependency is not installed
```

Exit code 2 is click's: the command line itself was wrong.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import ClassVar


class AnthemError(Exception):
    """Base class of every error a user can cause or fix."""

    exit_code: ClassVar[int] = 1


class BundleError(AnthemError):
    """A bundle is damaged, foreign or newer than this version reads."""

    exit_code = 3


class DataError(AnthemError):
    """An input file, text or judgment cannot be used."""

    exit_code = 4


class NodeError(AnthemError):
    """The local OpenSearch node cannot be fetched, started or stopped."""

    exit_code = 5


class ClusterError(AnthemError):
    """A cluster refuses, fails or cannot be reached."""

    exit_code = 6


class ParityError(AnthemError):
    """An exported graph does not compute what the torch model computes."""

    exit_code = 7


class PartialError(AnthemError):
    """Some products could not be written; all others were."""

    exit_code = 8


class ExtraError(AnthemError):
    """An optional dependency is not installed."""

    exit_code = 9


def require_extra(extra: str, *modules: str) -> None:
    """Check that the modules of an optional extra are installed.

    Raises:
        ExtraError: A module is not installed; the message names it and how to install the extra.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise ExtraError(
            f"{', '.join(missing)} not found. This needs the extra '{extra}'; from a checkout of ANTHEM Search run: "
            f"pip install '.[{extra}]'"
        )
