"""Everything that can go wrong, one class a situation.

TfinspectError                      slug, message, details, hint, evidence; exit_status
├── UsageError                      2  flags that do not fit together, a choice the caller must make
│   ├── AmbiguousOutputsError       2  several outputs are possible; all are listed
│   └── NameNotFoundError           2  a name that is not there; carries near names
│       ├── NodeNotFoundError
│       ├── OutputIndexError        2  the node is there, its output number is not
│       └── VariableNotFoundError
├── InputError                      3  we cannot read what we were given
│   ├── FileMissingError            3  nothing stands under that path, or it may not be opened
│   ├── UnknownFormatError          3  not a format we know; first and last bytes in hex
│   ├── WrongKindError              3  a known format, but not one this command takes
│   ├── CorruptFileError            3  offset in bytes, and what was expected there
│   ├── IncompleteCheckpointError   3  which file of the checkpoint is missing, and what is beside it
│   └── UnsupportedFeatureError     3  well formed, but newer or rarer than we read
├── SurgeryError                    4  the operation would give a wrong graph
│   ├── InvalidGraphError           4  duplicate names, dangling inputs, a cycle
│   ├── LeakyCutError               4  the path that goes round the cut
│   ├── IncompatibleGraftError      4  dtype or shape of both sides
│   ├── AlreadyConnectedError       4  the classifier hangs on the trunk already
│   ├── NameCollisionError          4  names both sides use, and the prefix that avoids it
│   ├── UnrestoredVariablesError    4  variables the graph needs and the checkpoint cannot give
│   └── UnsupportedOpsError         4  op -> nodes that the target cannot express
├── LimitError                      4  a size that the target format or this program does not allow
└── EnvironmentFailure              5  the machine, not the model
    ├── OutputExistsError           5  names --force
    ├── OutputError                 5  cannot be written: permissions, disk full
    ├── RuntimeUnavailableError     5  the pip command that installs it
    └── RuntimeFailedError          5  the runtime's own last words

A failed comparison is no error but a `Report`; anything else that is raised is a bug of ours (exit 70).
"""

from __future__ import annotations

import difflib
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class ExitStatus(IntEnum):
    """What the process tells its caller; one number a kind of end."""

    OK = 0
    DIFFERENT = 1
    USAGE = 2
    UNREADABLE = 3
    IMPOSSIBLE = 4
    ENVIRONMENT = 5
    INCONCLUSIVE = 6
    BUG = 70  # EX_SOFTWARE of sysexits.h
    INTERRUPTED = 130  # 128 + SIGINT


class TfinspectError(Exception):
    """Root of every failure this program foresees.

    Args:
        message: one lower-case sentence without full stop, names in backticks.
        details: evidence for a person, one line each, shown indented below the message.
        hint: what mends it, preferably a command that works as typed.
        evidence: the same facts for a program; values must be JSON-serialisable.
    """

    slug: ClassVar[str] = "error"
    exit_status: ClassVar[ExitStatus] = ExitStatus.BUG

    def __init__(
        self,
        message: str,
        *,
        details: Sequence[str] = (),
        hint: str | None = None,
        evidence: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        self.hint = hint
        self.evidence = dict(evidence or {})

    def __str__(self) -> str:
        """Return the message and, on lines of their own, the details."""
        return "\n".join((self.message, *self.details))


class UsageError(TfinspectError):
    """The flags do not fit together, or leave a choice open that only the caller can make."""

    slug = "usage"
    exit_status = ExitStatus.USAGE


class AmbiguousOutputsError(UsageError):
    """The graph has several tensors that could be its outputs, or none, and none was named."""

    slug = "ambiguous-outputs"


class NameNotFoundError(UsageError):
    """A name is not in the file; `near` holds the names most like it."""

    slug = "name-not-found"

    def __init__(self, message: str, *, name: str, known: Iterable[str] = (), hint: str | None = None) -> None:
        self.name = name
        self.near = near_names(name, known)
        if hint is None and self.near:
            hint = "did you mean " + " or ".join(f"`{near}`" for near in self.near) + "?"
        super().__init__(message, hint=hint, evidence={"name": name, "near": list(self.near)})


class NodeNotFoundError(NameNotFoundError):
    """No node of that name is in the graph."""

    slug = "node-not-found"


class OutputIndexError(NameNotFoundError):
    """The node exists, but has no output of that number."""

    slug = "output-index"


class VariableNotFoundError(NameNotFoundError):
    """No variable of that name is in the checkpoint."""

    slug = "variable-not-found"


class InputError(TfinspectError):
    """The input cannot be read."""

    slug = "input"
    exit_status = ExitStatus.UNREADABLE


class FileMissingError(InputError):
    """Nothing stands under that path, or it is not a file that may be opened."""

    slug = "file-missing"


class UnknownFormatError(InputError):
    """The bytes are of no format this program knows."""

    slug = "unknown-format"


class WrongKindError(InputError):
    """The file is of a known format, but not of a kind this command takes."""

    slug = "wrong-kind"


class CorruptFileError(InputError):
    """The file breaks the rules of its own format at a known offset.

    Args:
        path: the file.
        offset: bytes from the start of the file.
        expected: what should stand there, as a noun phrase.
        found: what stands there instead.
        structure: the part of the format the offset lies in.
    """

    slug = "corrupt-file"

    def __init__(
        self, path: str, offset: int, expected: str, found: str, *, structure: str = "", hint: str | None = None
    ) -> None:
        self.path, self.offset, self.expected, self.found = path, offset, expected, found
        where = f" ({structure})" if structure else ""
        super().__init__(
            f"{path} is damaged at byte {offset:,}{where}: expected {expected}, found {found}",
            hint=hint,
            evidence={"path": path, "offset": offset, "expected": expected, "found": found, "structure": structure},
        )


class IncompleteCheckpointError(InputError):
    """A file of the checkpoint is missing."""

    slug = "incomplete-checkpoint"


class UnsupportedFeatureError(InputError):
    """The file is well formed but uses something this program does not read."""

    slug = "unsupported-feature"


class SurgeryError(TfinspectError):
    """The operation would give a wrong graph and was not done."""

    slug = "surgery"
    exit_status = ExitStatus.IMPOSSIBLE


class InvalidGraphError(SurgeryError):
    """The graph breaks the rules of a graph: duplicate names, dangling inputs, a cycle."""

    slug = "invalid-graph"


class LeakyCutError(SurgeryError):
    """The tensor does not separate inputs from outputs; a path goes round it."""

    slug = "leaky-cut"


class IncompatibleGraftError(SurgeryError):
    """Head and trunk do not fit in dtype or shape."""

    slug = "incompatible-graft"


class AlreadyConnectedError(SurgeryError):
    """The classifier is connected to the trunk already."""

    slug = "already-connected"


class NameCollisionError(SurgeryError):
    """Both graphs use the same names."""

    slug = "name-collision"


class UnrestoredVariablesError(SurgeryError):
    """The graph needs variables that the checkpoint lacks or holds in another shape or dtype."""

    slug = "unrestored-variables"


class UnsupportedOpsError(SurgeryError):
    """Ops that the target cannot express."""

    slug = "unsupported-ops"


class LimitError(TfinspectError):
    """A size goes over what the format or this program allows."""

    slug = "limit"
    exit_status = ExitStatus.IMPOSSIBLE


class EnvironmentFailure(TfinspectError):  # noqa: N818 - "EnvironmentError" is a builtin
    """The machine failed, not the model."""

    slug = "environment"
    exit_status = ExitStatus.ENVIRONMENT


class OutputExistsError(EnvironmentFailure):
    """The output exists and --force was not given."""

    slug = "output-exists"


class OutputError(EnvironmentFailure):
    """The output cannot be written."""

    slug = "output"


class RuntimeUnavailableError(EnvironmentFailure):
    """A runtime this needs is not installed."""

    slug = "runtime-unavailable"


class RuntimeFailedError(EnvironmentFailure):
    """A runtime refused or died; its last words are in the details."""

    slug = "runtime-failed"


def counted(count: int, noun: str) -> str:
    """Return `1 node`, `1,024 nodes`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def near_names(name: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """Return up to `limit` names of `known` that a person may have meant by `name`, best first.

    People forget scopes more often than they mistype, so the last path component is compared as well.
    """
    pool = list(known)
    leaf = name.rsplit("/", 1)[-1]
    by_leaf = [k for k in pool if k.rsplit("/", 1)[-1] == leaf and k != name]
    close = difflib.get_close_matches(name, pool[:20_000], n=limit, cutoff=0.6)
    return list(dict.fromkeys([*close, *by_leaf]))[:limit]


def error_classes() -> list[type[TfinspectError]]:
    """Return every error class, parents before children, in the order of the tree above."""

    def walk(cls: type[TfinspectError]) -> Iterable[type[TfinspectError]]:
        yield cls
        for child in cls.__subclasses__():
            yield from walk(child)

    return [cls for cls in walk(TfinspectError) if cls.__module__ == __name__]
