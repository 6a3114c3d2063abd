"""Checkpoints: variables by name, values when asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from tfinspect.errors import TfinspectError, VariableNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy.typing as npt

    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.tensors import Tensor

Role = Literal["weight", "slot", "step", "bookkeeping"]

# Suffixes that TensorFlow's optimizers, moving averages and RNN-era trainers give to slot variables; a second optimizer
# of the same kind adds a number (`Adam_2`).
_SLOTS = frozenset(
    {
        "Adadelta", "Adafactor", "Adagrad", "AdagradDA", "Adam", "AdaMax", "ExponentialMovingAverage", "Ftrl", "LARS",
        "LARSOptimizer", "Momentum", "RMSProp", "accum", "adam_m", "adam_v", "biased", "gradient_accumulator",
        "gradient_squared_accumulator", "lamb_m", "lamb_v", "linear", "local_step", "m", "momentum", "rms", "v", "vhat",
    }
)  # fmt: skip
_STEPS = frozenset({"global_step", "step", "iter", "_iterations", "iterations", "save_counter"})
_BOOKKEEPING = (
    "beta1_power", "beta2_power", "decay", "learning_rate", "beta_1", "beta_2", "rho", "epsilon", "loss_scale",
    "current_loss_scale", "good_steps",
)  # fmt: skip
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_ATTRIBUTES, _SLOT = "/.ATTRIBUTES/", "/.OPTIMIZER_SLOT/"


@dataclass(frozen=True, slots=True)
class VariableInfo:
    """One variable of a checkpoint, without its value.

    Attributes:
        name: key in the checkpoint.
        dtype: element type.
        shape: dimensions of the whole variable.
        nbytes: bytes its value takes in the checkpoint.
        role: "weight" for what a model computes with, "slot" for optimizer state and moving averages, "step" for
            counters, "bookkeeping" for everything else a trainer leaves behind.
        slices: number of pieces it is stored in; 0 where it is whole.
        label: what a person calls it, where the key is a path through objects; empty where the name says it.
        serves: of a slot or average, the name of the variable it belongs to; empty where that is not known.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    nbytes: int
    role: Role = "weight"
    slices: int = 0
    label: str = ""
    serves: str = ""


class Checkpoint:
    """Variables of one checkpoint.

    Attributes:
        path: the prefix (V2) or file that names it.
        format: name of a row of `formats.FORMATS`.
        variables: by name, in the order of the file.
        files: the files it consists of, those missing included.
        faults: looks for what is wrong with the files beyond what listing needs: shards that are missing or too short,
            an object graph that contradicts itself. It reads no values.
    """

    def __init__(
        self,
        path: str,
        format: str,  # noqa: A002 - the word every command prints
        variables: Mapping[str, VariableInfo],
        tensor: Callable[[str], Tensor],
        files: tuple[str, ...] = (),
        faults: Callable[[], Iterable[TfinspectError]] = tuple,
    ) -> None:
        self.path = path
        self.format = format
        self.variables = variables
        self.files = files
        self.faults = faults
        self._tensor = tensor

    def labelled(self, labels: Mapping[str, str]) -> Checkpoint:
        """Return the same checkpoint with other labels, by name; the rest keep theirs."""
        variables = {
            name: replace(info, label=labels[name]) if name in labels else info for name, info in self.variables.items()
        }
        return Checkpoint(self.path, self.format, variables, self._tensor, self.files, self.faults)

    def variable(self, name: str) -> VariableInfo:
        """Return what is known of a variable.

        Args:
            name: its name, or a label that no other variable has.

        Raises:
            VariableNotFoundError: the checkpoint has none of that name; carries near names.
        """
        found = self.variables.get(name)
        if found is not None:
            return found
        labelled = [info for info in self.variables.values() if info.label == name and name]
        if len(labelled) == 1:
            return labelled[0]
        labels = (info.label for info in self.variables.values() if info.label)
        raise VariableNotFoundError(
            f"no variable named `{name}` in {self.path} ({len(self.variables):,} variables)",
            name=name,
            known=[*self.variables, *labels],
        )

    def tensor(self, name: str) -> Tensor:
        """Return a variable as a tensor whose value is read, and its checksum checked, when asked for.

        It is found as by `variable`.

        Raises:
            VariableNotFoundError: the checkpoint has none of that name.
        """
        return self._tensor(self.variable(name).name)

    def read(self, name: str) -> npt.NDArray[Any]:
        """Return the value of a variable.

        Raises:
            VariableNotFoundError: the checkpoint has none of that name.
            IncompleteCheckpointError: the shard that holds it is missing.
            CorruptFileError: the bytes do not match their checksum.
        """
        return self.tensor(name).numpy()


def describe(variables: Iterable[tuple[str, DType, tuple[int, ...]]]) -> dict[str, tuple[Role, str]]:
    """Guess the role of each variable, and which variable it serves, from the names and shapes of all of them.

    A slot is named after the variable it serves (`conv/weights/Momentum`), possibly under an optimizer scope
    (`optimizer/conv/weights/Adam`), and the prefix or the suffix must itself be a variable.
    """
    known = {name: (dtype, shape) for name, dtype, shape in variables}
    is_slot: dict[str, bool] = {}
    found: dict[str, tuple[Role, str]] = {}
    for name, (dtype, shape) in known.items():
        if _ATTRIBUTES in name or name == OBJECT_GRAPH:
            found[name] = _of_object(name, dtype, shape, known)
            continue
        parent, _, leaf = name.rpartition("/")
        slot = is_slot.get(leaf)
        if slot is None:
            slot = is_slot[leaf] = leaf in _SLOTS or leaf.rstrip("0123456789").removesuffix("_") in _SLOTS
        serves = _served(parent, known) if slot else ""
        if shape == () and dtype.is_integer and leaf in _STEPS and not serves:
            found[name] = ("step", "")
        elif shape == () and leaf.startswith(_BOOKKEEPING) and parent not in known:
            found[name] = ("bookkeeping", "")
        else:
            found[name] = ("slot", serves) if serves else ("weight", "")
    return found


def _of_object(name: str, dtype: DType, shape: tuple[int, ...], known: Mapping[str, object]) -> tuple[Role, str]:
    """Tell the role from a key that is a path through objects, as far as the path alone says it."""
    path, _, attribute = name.rpartition(_ATTRIBUTES)
    if not path or attribute == "OBJECT_CONFIG_JSON":
        return "bookkeeping", ""
    served, slot, _ = path.partition(_SLOT)
    if slot:
        return "slot", served + VALUE if served + VALUE in known else ""
    owner, _, leaf = path.rpartition("/")
    if "keras_api/metrics/" in path:
        return "bookkeeping", ""
    if shape == ():
        if leaf in _STEPS and dtype.is_integer:
            return "step", ""
        if leaf.lstrip("_").startswith(_BOOKKEEPING) or (leaf == "momentum" and f"{owner}/iter{VALUE}" in known):
            return "bookkeeping", ""
    optimizer, _, members = owner.rpartition("/")
    if members == "_variables" and f"{optimizer}/_iterations{VALUE}" in known:
        return "slot", ""
    return "weight", ""


def _served(parent: str, known: Mapping[str, object]) -> str:
    """Return the variable that a slot's name, without its last part, stands for; empty where there is none."""
    while parent:
        if parent in known:
            return parent
        _, _, parent = parent.partition("/")
    return ""
