"""Deeplearning4j's model files: a zip of the network's JSON and one row of numbers that holds every parameter."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import CorruptFileError, counted
from tfinspect.formats import _nd4j
from tfinspect.formats._dl4j_network import MalformedError, Network, read_network, updaters
from tfinspect.formats._zip import Archive
from tfinspect.ir.checkpoint import Checkpoint, VariableInfo
from tfinspect.ir.model import Model
from tfinspect.ir.risks import Risk
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    import numpy.typing as npt

CONFIGURATION: Final = "configuration.json"
COEFFICIENTS: Final = "coefficients.bin"
_UPDATER: Final = "updaterState.bin"
_MAX_JSON_NBYTES = 64 << 20
_MAX_NBYTES = 16 << 30
_ONE_STATE: Final = frozenset({"AdaGrad", "Nesterovs", "RmsProp"})  # as many numbers as parameters, in their order
_OURS: Final = frozenset({CONFIGURATION, COEFFICIENTS, _UPDATER})
_SERIALIZED: Final = b"\xac\xed"
_SERIALIZED_NAMES: Final = frozenset({"normalizer.bin", "preprocessor.bin", "updater.bin"})
_GENERATIONS: Final = {"MIXED_DATA_TYPES": "1.0.0-beta4 or later", "LONG_SHAPE": "1.0.0-beta to 1.0.0-beta3"}


class _Row:
    """An ND4J array in an archive; inflated once, or a view of the file where it is stored, when a value is wanted."""

    def __init__(self, archive: Archive, member: str) -> None:
        self.archive, self.member = archive, member
        entry = archive.member(member)
        stored = archive.stored(member)
        if stored is None:
            head: bytes | memoryview = next(iter(archive.pieces(member, limit=_MAX_NBYTES)), b"")
            base, structure = 0, f"unpacked `{member}`"
        else:
            head, base, structure = stored, entry.start, f"zip member `{member}`"
        self.header = _nd4j.read_header(head, entry.size, archive.path, base=base, structure=structure)
        self._data: bytes | memoryview | None = None

    def part(self, first: int, count: int) -> npt.NDArray[Any]:
        if self._data is None:
            stored = self.archive.stored(self.member)
            if stored is None:
                self._data = self.archive.read(self.member, limit=_MAX_NBYTES)
            else:
                self.archive.check(self.member)
                self._data = stored
        return _nd4j.native(self.header, self._data, first, count)


@dataclass(frozen=True, slots=True)
class _Part:
    """Where a variable stands in a row."""

    info: VariableInfo
    row: _Row
    first: int
    order: str = "C"

    def tensor(self) -> Tensor:
        def load() -> npt.NDArray[Any]:
            values = self.row.part(self.first, math.prod(self.info.shape))
            return values.reshape(self.info.shape, order="F" if self.order == "F" else "C")

        return Tensor(self.info.dtype, self.info.shape, load)


def read(path: str | os.PathLike[str]) -> Model:
    """Read a model.

    Its layers come in the order their parameters are stored. A layer whose parameters cannot be told apart is a problem
    of the model, and the checkpoint then holds them all as the one variable `coefficients`.

    Raises:
        CorruptFileError: the archive, its JSON or its numbers are damaged, or do not fit each other.
        UnsupportedFeatureError: a member is encrypted, or its numbers are compressed in ND4J's own way.
        LimitError: a member would unpack to far more than it takes in the file.
        InputError: the file cannot be opened.
    """
    name = os.fspath(path)
    archive = Archive(name)
    config = _json(archive)
    try:
        network = read_network(config, name)
    except MalformedError as error:
        raise CorruptFileError(
            name, archive.member(CONFIGURATION).start, "the configuration of a network", str(error),
            structure=f"`{CONFIGURATION}`",
        ) from None  # fmt: skip
    row = _Row(archive, COEFFICIENTS)
    parts = _weights(network, row)
    weights: dict[str, list[str]] = {}
    for key in parts:
        weights.setdefault(key.rpartition("/")[0], []).append(key)
    layers = tuple(replace(unit.layer, weights=tuple(weights.get(unit.layer.name, ()))) for unit in network.units)
    parts |= _state(archive, parts, row.header.count, updaters(config))
    checkpoint = Checkpoint(
        name, "dl4j", {key: part.info for key, part in parts.items()}, lambda key: parts[key].tensor(), (name,)
    )
    facts = {
        **network.facts,
        "written_by": f"Deeplearning4j {_generation(config, row.header.allocation)}",
        "parameters": f"{row.header.count:,}",
    }
    others = [member for member in archive.names if member not in _OURS]
    if others:
        facts["other_members"] = ", ".join(others[:20])
    risks = (*network.risks, *_serialized(archive, others), *archive.risks)
    return Model(
        name, "dl4j", checkpoint=checkpoint, layers=layers, training=network.training, facts=facts, risks=risks,
        problems=network.problems,
    )  # fmt: skip


def _json(archive: Archive) -> object:
    text = archive.read(CONFIGURATION, limit=_MAX_JSON_NBYTES)
    offset, found = 0, ""
    try:
        return json.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        offset, found = error.start, "other bytes"
    except json.JSONDecodeError as error:
        offset, found = error.pos, error.msg.lower()
    except RecursionError:
        found = "objects nested too deep"
    except ValueError:  # Python refuses numbers of thousands of digits
        found = "a number too long to be one"
    raise CorruptFileError(archive.path, offset, "JSON text", found, structure=f"unpacked `{CONFIGURATION}`")


def _weights(network: Network, row: _Row) -> dict[str, _Part]:
    header = row.header
    if network.problems:
        whole = VariableInfo("coefficients", header.dtype, (header.count,), header.count * header.dtype.itemsize)
        return {whole.name: _Part(whole, row, 0)}
    parts, first = {}, 0
    for unit in network.units:
        for one in unit.parameters or ():
            size = math.prod(one.shape)
            name = f"{unit.layer.name}/{one.name}"
            info = VariableInfo(name, header.dtype, one.shape, size * header.dtype.itemsize)
            parts[name] = _Part(info, row, first, one.order)
            first += size
    if first != header.count:
        archive = row.archive
        raise CorruptFileError(
            archive.path, archive.member(COEFFICIENTS).start, f"{counted(first, 'parameter')}, as the layers take",
            f"{header.count:,}", structure=f"`{COEFFICIENTS}`",
        )  # fmt: skip
    return parts


def _state(archive: Archive, weights: dict[str, _Part], count: int, names: set[str]) -> dict[str, _Part]:
    """Return the optimizer's state: a slot for each weight where it has one number a parameter, else all of it."""
    if _UPDATER not in archive or archive.member(_UPDATER).size == 0:
        return {}
    row = _Row(archive, _UPDATER)
    dtype = row.header.dtype
    if row.header.count == count and len(names) == 1 and names <= _ONE_STATE and "coefficients" not in weights:
        slot = next(iter(names))
        return {
            f"{key}/{slot}": _Part(
                replace(part.info, name=f"{key}/{slot}", dtype=dtype, role="slot", serves=key,
                        nbytes=math.prod(part.info.shape) * dtype.itemsize),
                row, part.first, part.order,
            )
            for key, part in weights.items()
        }  # fmt: skip
    whole = VariableInfo("updater_state", dtype, (row.header.count,), row.header.count * dtype.itemsize, "slot")
    return {whole.name: _Part(whole, row, 0)}


def _generation(config: object, allocation: str) -> str:
    if allocation in _GENERATIONS:
        return _GENERATIONS[allocation]
    text = json.dumps(config)
    if '"iupdater"' in text:
        return "0.9 to 1.0.0-alpha"
    return "0.7.2 to 0.8" if '"activationFn"' in text else "0.7.1 or earlier"


def _serialized(archive: Archive, members: list[str]) -> list[Risk]:
    found = []
    for member in members:
        entry = archive.member(member)
        magic = b""
        if entry.is_inside and not entry.is_encrypted and entry.method in {0, 8} and entry.size:
            magic = bytes(next(iter(archive.pieces(member, limit=_MAX_NBYTES)))[:2])
        if magic == _SERIALIZED:
            found.append(
                Risk("serialized-object", member, "is a serialized Java object, and reading it could run code")
            )
        elif member in _SERIALIZED_NAMES:
            found.append(Risk("serialized-object", member, "is read by Deeplearning4j as an object, and was not here"))
    return found
