"""Placeholders that switch a graph between training and inference, and the value that means inference.

Structure comes first: a bool that steers Switch, If or Select, a float that enters the arithmetic of dropout. Names are
asked only where structure says nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfinspect.ir.dtypes import DType
from tfinspect.ir.refs import TensorRef
from tfinspect.surgery._flow import Flow
from tfinspect.surgery.ops import MERGES, RANDOM, SWITCHES, is_update

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfinspect.ir.graph import Graph, Node
    from tfinspect.surgery._flow import Tensor
    from tfinspect.surgery.shapes import TensorType, TensorTypes

_PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})
# a scalar goes through these unchanged
_CARRIERS = frozenset(
    {
        "Identity", "Cast", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "Switch", "Merge", "Enter",
        "PlaceholderWithDefault", "LogicalAnd", "LogicalOr", "ToBool", "Snapshot", "EnsureShape",
    }
)  # fmt: skip
_STEERED = {**dict.fromkeys(SWITCHES, 1), "If": 0, "StatelessIf": 0, "Select": 0, "SelectV2": 0, "Case": 0,
            "StatelessCase": 0}  # fmt: skip
_STEPS = 12  # how far back a random number may stand from the comparison that uses it
_NAMED_FLAG = re.compile(r"(^|/)(is_?training|phase_?train|train_?phase|training_?phase|keras_learning_phase)(_\d+)?$")
_NAMED_KEEP = re.compile(r"(^|/)(keep_?prob(ability)?|keep_?rate)(_\d+)?$", re.IGNORECASE)
_NAMED_RATE = re.compile(r"(^|/)(drop(out)?_?(rate|prob(ability)?))(_\d+)?$", re.IGNORECASE)
_MOMENTS = frozenset({"SquaredDifference", "Moments"})
_SCALAR_NUMBERS = (DType.BOOL, DType.INT32, DType.INT64, DType.UINT8)


@dataclass(frozen=True, slots=True)
class PhaseFlag:
    """A placeholder that has a value for training and another for inference.

    Attributes:
        ref: the placeholder.
        value: what it is in inference.
        why: how it was recognised, as a phrase.
    """

    ref: TensorRef
    value: bool | float
    why: str


def phase_flags(graph: Graph, types: TensorTypes) -> list[PhaseFlag]:
    """Return the flags of the training phase that a graph takes as placeholders, in file order."""
    candidates = [
        (node, kind)
        for node in graph.nodes
        if node.op in _PLACEHOLDERS and _may_be_flag(kind := types.type_of(TensorRef(node.name)))
    ]
    if not candidates:
        return []
    flow = Flow(graph)
    found = (_judge(flow, node, kind) for node, kind in candidates)
    return [flag for flag in found if flag is not None]


def _may_be_flag(kind: TensorType) -> bool:
    single = kind.shape is None or all(d == 1 for d in kind.shape)
    return single and kind.dtype is not None and (kind.dtype in _SCALAR_NUMBERS or kind.dtype.is_floating)


def _judge(flow: Flow, node: Node, kind: TensorType) -> PhaseFlag | None:
    start = (flow.number[node.name], 0)
    ref = TensorRef(node.name)
    if not flow.users[start[0]]:
        return None
    if kind.dtype is not None and kind.dtype.is_floating:
        return _judge_float(flow, ref, start)
    return _judge_flag(flow, ref, start, is_bool=kind.dtype is DType.BOOL)


def _judge_flag(flow: Flow, ref: TensorRef, start: Tensor, *, is_bool: bool) -> PhaseFlag | None:
    steered: dict[int, bool] = {}
    for user, index, flipped in _carried(flow, start, flips="LogicalNot"):
        node = flow.nodes[user]
        if _STEERED.get(node.op) == index and _is_steering(flow, user, node, is_bool=is_bool):
            steered[user] = flipped
    if steered:
        training = _training_side(flow, steered)
        ops = sorted({flow.nodes[i].op for i in steered})
        value = not training
        why = f"steers {len(steered)} {'/'.join(ops)} node{'s' if len(steered) > 1 else ''}"
        return PhaseFlag(ref, value if is_bool else int(value), why)
    if _NAMED_FLAG.search(ref.name):
        return PhaseFlag(ref, False if is_bool else 0, "named like a flag of the training phase")
    return None


def _is_steering(flow: Flow, user: int, node: Node, *, is_bool: bool) -> bool:
    """Whether a node is steered by a flag: one that comes as a number must have been cast to bool on the way."""
    if is_bool:
        return True
    source = flow.source(user, _STEERED[node.op])
    return source is not None and node.op not in ("Case", "StatelessCase") and source.op not in _PLACEHOLDERS


def _training_side(flow: Flow, steered: dict[int, bool]) -> bool:
    """Return the value of the flag that means training.

    Training draws random numbers, takes moments of a batch or writes variables on its side of a Switch; where neither
    side does, or both do, True means training, as TensorFlow's own layers have it.
    """
    sides: dict[bool, list[Tensor]] = {False: [], True: []}
    for node, flipped in steered.items():
        if flow.nodes[node].op in SWITCHES:
            sides[flipped].append((node, 0))
            sides[not flipped].append((node, 1))
    trains = {side: _has_training_ops(flow, starts) for side, starts in sides.items()}
    return not (trains[False] and not trains[True])


def _has_training_ops(flow: Flow, starts: list[Tensor]) -> bool:
    reached = flow.downstream(starts, stop=lambda i: flow.nodes[i].op in MERGES, control=True)
    return any(_is_training_op(flow.nodes[i]) for i in reached)


def _is_training_op(node: Node) -> bool:
    if node.op.startswith("FusedBatchNorm"):
        return bool(node.value("is_training", default=True))
    return node.op in RANDOM or node.op in _MOMENTS or is_update(node.op)


def _judge_float(flow: Flow, ref: TensorRef, start: Tensor) -> PhaseFlag | None:
    for user, index, flipped in _carried(flow, start, flips="Sub"):
        kept = _keeps(flow, user, index)
        if kept is not None:
            keeps = kept != flipped
            word = "the share of values that dropout keeps" if keeps else "the share of values that dropout drops"
            return PhaseFlag(ref, 1.0 if keeps else 0.0, word)
    if _NAMED_KEEP.search(ref.name):
        return PhaseFlag(ref, 1.0, "named like dropout's keep probability")
    if _NAMED_RATE.search(ref.name):
        return PhaseFlag(ref, 0.0, "named like dropout's rate")
    return None


def _keeps(flow: Flow, user: int, index: int) -> bool | None:
    """Tell whether dropout keeps more for a larger value here: True for a keep probability, False for a rate.

    The forms: floor(keep + random), random >= rate, random < keep, and the same the other way round.
    """
    op = flow.nodes[user].op
    if op in ("Add", "AddV2") and _is_random(flow, user, 1 - index):
        return True if any(flow.nodes[i].op == "Floor" for i, _ in flow.users[user]) else None
    if op in ("GreaterEqual", "Greater", "Less", "LessEqual") and _is_random(flow, user, 1 - index):
        random_is_larger = op.startswith("Greater") == (index == 1)
        return not random_is_larger
    return None


def _is_random(flow: Flow, user: int, index: int) -> bool:
    """Whether an operand is made of random numbers by plain arithmetic."""
    sources = flow.inputs[user]
    if not 0 <= index < len(sources):
        return False
    ready = [sources[index][0]]
    for _ in range(_STEPS):
        if not ready:
            return False
        node = ready.pop()
        if node < 0:
            continue
        if flow.nodes[node].op in RANDOM:
            return True
        if flow.nodes[node].op in ("Add", "AddV2", "Sub", "Mul", "Identity", "Cast", "Reshape"):
            ready += [source for source, _ in flow.inputs[node]]
    return False


def _carried(flow: Flow, start: Tensor, *, flips: str) -> Iterator[tuple[int, int, bool]]:
    """Yield (consumer, input index, flipped) of each use of a scalar, through ops that hand it on.

    Args:
        flow: the edges.
        start: the scalar.
        flips: the op that turns it round: `1 - x` (as Sub, with x second) or LogicalNot.
    """
    seen = {(start[0], False)}
    ready = [(start, False)]
    while ready:
        (source, index), flipped = ready.pop()
        for user, output in dict.fromkeys(flow.users[source]):
            if output != index:
                continue
            node = flow.nodes[user]
            for position in [i for i, tensor in enumerate(flow.inputs[user]) if tensor == (source, index)]:
                yield user, position, flipped
                turned = node.op == flips and (flips != "Sub" or position == 1)
                # a Switch hands its data on, not its predicate
                carries = node.op in _CARRIERS and not (node.op in SWITCHES and position == 1)
                if not (turned or carries):
                    continue
                state = (user, flipped != turned)
                if state not in seen:
                    seen.add(state)
                    ready += [((user, i), state[1]) for i in ((0, 1) if node.op in SWITCHES else (0,))]
