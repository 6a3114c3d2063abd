"""Checkpoints: variables by name, values when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tfinspect.errors import VariableNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy.typing as npt

    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.tensors import Tensor

Role = Literal["weight", "slot", "step", "bookkeeping"]

# Suffixes that TensorFlow's optimizers, moving averages and RNN-era trainers give to slot variables.
_SLOTS = frozenset(
    {
        "Adadelta", "Adadelta_1", "Adagrad", "AdagradDA", "Adam", "Adam_1", "AdaMax", "AdaMax_1",
        "ExponentialMovingAverage", "Ftrl", "Ftrl_1", "Momentum", "RMSProp", "RMSProp_1", "RMSProp_2", "accum",
        "gradient_accumulator", "gradient_squared_accumulator", "linear", "m", "momentum", "rms", "v", "vhat",
    }
)  # fmt: skip
_STEPS = frozenset({"global_step", "step", "iter", "save_counter"})
_BOOKKEEPING = ("beta1_power", "beta2_power", "decay", "learning_rate", "beta_1", "beta_2", "rho", "epsilon")


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
    """

    def __init__(
        self,
        path: str,
        format: str,  # noqa: A002 - the word every command prints
        variables: Mapping[str, VariableInfo],
        tensor: Callable[[str], Tensor],
        files: tuple[str, ...] = (),
    ) -> None:
        self.path = path
        self.format = format
        self.variables = variables
        self.files = files
        self._tensor = tensor

    def variable(self, name: str) -> VariableInfo:
        """Return what is known of a variable.

        Raises:
            VariableNotFoundError: the checkpoint has none of that name; carries near names.
        """
        found = self.variables.get(name)
        if found is None:
            raise VariableNotFoundError(
                f"no variable named `{name}` in {self.path} ({len(self.variables):,} variables)",
                name=name,
                known=self.variables,
            )
        return found

    def tensor(self, name: str) -> Tensor:
        """Return a variable as a tensor whose value is read, and its checksum checked, when asked for.

        Raises:
            VariableNotFoundError: the checkpoint has none of that name.
        """
        self.variable(name)
        return self._tensor(name)

    def read(self, name: str) -> npt.NDArray[Any]:
        """Return the value of a variable.

        Raises:
            VariableNotFoundError: the checkpoint has none of that name.
            IncompleteCheckpointError: the shard that holds it is missing.
            CorruptFileError: the bytes do not match their checksum.
        """
        return self.tensor(name).numpy()


def roles(variables: Iterable[tuple[str, DType, tuple[int, ...]]]) -> dict[str, Role]:
    """Guess the role of each variable from the names and shapes of all of them.

    A slot is named after the variable it serves (`conv/weights/Momentum`), possibly under an optimizer scope
    (`optimizer/conv/weights/Adam`), and the prefix or the suffix must itself be a variable.
    """
    known = {name: (dtype, shape) for name, dtype, shape in variables}
    found: dict[str, Role] = {}
    for name, (dtype, shape) in known.items():
        parent, _, leaf = name.rpartition("/")
        if name.startswith("_CHECKPOINTABLE_OBJECT_GRAPH") or "/.ATTRIBUTES/OBJECT_CONFIG_JSON" in name:
            found[name] = "bookkeeping"
        elif "/.OPTIMIZER_SLOT/" in name:
            found[name] = "slot"
        elif dtype.is_integer and shape == () and _leaf(name) in _STEPS:
            found[name] = "step"
        elif shape == () and _leaf(name).startswith(_BOOKKEEPING) and parent not in known:
            found[name] = "bookkeeping"
        elif leaf in _SLOTS and _serves(parent, known):
            found[name] = "slot"
        else:
            found[name] = "weight"
    return found


def _leaf(name: str) -> str:
    return name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE").rsplit("/", 1)[-1]


def _serves(parent: str, known: Mapping[str, object]) -> bool:
    while parent:
        if parent in known:
            return True
        _, _, parent = parent.partition("/")
    return False
