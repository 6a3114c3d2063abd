"""Types of the outputs of single ops: state, control flow, input pipelines, functions; and the table of all rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.ir.dtypes import DType
from tfinspect.ir.shapes import merge as merge_shapes
from tfinspect.surgery._shape_arithmetic import alike, common, fixed, gathered, same, table
from tfinspect.surgery._shape_rules_arrays import ARRAY_RULES
from tfinspect.surgery._shape_rules_layers import LAYER_RULES
from tfinspect.surgery.ops import is_side_effect, is_update
from tfinspect.surgery.shapes import TensorType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tfinspect.ir.shapes import Shape
    from tfinspect.surgery._shape_arithmetic import Rule
    from tfinspect.surgery.shapes import Call

_PRODUCER_KNOWS_SCALARS = 22  # before, `Placeholder` could not tell a scalar from an unknown shape

# ops whose first output has a type of its own although an attribute names that of another
_OTHER_TYPES = (
    "_", "Accumulator", "Conditional", "Dense", "Deserialize", "Infeed", "Outfeed", "Prelinearize", "Ragged",
    "Resource", "Sparse", "Take", "TensorArray", "Xla",
)  # fmt: skip


def _placeholder(call: Call) -> list[TensorType]:
    shape = call.node.shape()
    if shape == () and call.producer < _PRODUCER_KNOWS_SCALARS and call.node.op == "Placeholder":
        shape = None
    return [TensorType(call.node.dtype("dtype"), shape)]


def _variable(call: Call) -> list[TensorType]:
    shape = call.node.shape()
    if shape == () and call.node.op == "Variable":  # the first `Variable` writes an unknown shape like a scalar's
        shape = None
    return [TensorType(call.node.dtype("dtype"), shape)]


def _read_variable(call: Call) -> list[TensorType]:
    return [TensorType(call.node.dtype("dtype"), call.handle().shape)]


def _assign(call: Call) -> list[TensorType]:
    validate = call.node.value("validate_shape", default=True)
    return [TensorType(call.dtype(0), merge_shapes(call.shape(0), call.shape(1)) if validate else call.shape(1))]


def _resource_gather(call: Call) -> list[TensorType]:
    return [TensorType(call.node.dtype("dtype"), gathered(call.handle().shape, call.shape(1), 0, 0))]


def _switch(call: Call) -> list[TensorType]:
    return alike(same(call)[0], call.node.value("num_outs", 2))


def _merge(call: Call) -> list[TensorType]:
    dtype = next((t.dtype for t in call.ins if t.dtype is not None), call.node.dtype("T"))
    return [TensorType(dtype, common([t.shape for t in call.ins])), TensorType(DType.INT32, ())]


def _identity_n(call: Call) -> list[TensorType]:
    return list(call.ins)


def listed_types(call: Call, dtypes: str, shapes: str = "") -> list[TensorType]:
    """Outputs whose types, and perhaps shapes, stand in list attributes."""
    types = call.node.listed(dtypes, "type")
    given = call.node.listed(shapes, "shape")
    return [TensorType(t, given[i] if len(given) == len(types) else None) for i, t in enumerate(types)]


def _listed(dtypes: str, shapes: str = "") -> Rule:
    return lambda call: listed_types(call, dtypes, shapes)


def _dequeue(call: Call) -> list[TensorType]:
    queue = call.source(0)
    types = call.node.listed("component_types", "type")
    shapes = () if queue is None else queue.listed("shapes", "shape")
    if len(shapes) != len(types):
        shapes = (None,) * len(types)
    lead: tuple[int | None, ...] = ()
    if "Many" in call.node.op:
        lead = (call.scalar(1),)
    elif "UpTo" in call.node.op:
        lead = (None,)
    return [TensorType(t, None if s is None else (*lead, *s)) for t, s in zip(types, shapes, strict=True)]


def _tensor_array(_: Call) -> list[TensorType]:
    return [TensorType(DType.RESOURCE, (2,)), TensorType(DType.FLOAT, ())]


def _tensor_array_gather(call: Call) -> list[TensorType]:
    shape = call.node.shape("element_shape")
    indices = call.shape(1)
    if shape is not None:
        shape = (indices[0] if indices else None, *shape)
    return [TensorType(call.node.dtype("dtype"), shape)]


def _parse_example(call: Call) -> list[TensorType]:
    node = call.node
    batch: Shape = call.shape(0) or (None,)
    sparse = node.listed("sparse_types", "type")
    dense = list(zip(node.listed("Tdense", "type"), node.listed("dense_shapes", "shape"), strict=True))
    if node.value("ragged_value_types") or (call.shape(0) is None and node.op == "ParseExampleV2"):
        batch = None
    single = node.op == "ParseSingleExample"
    lead = () if single else batch
    rank = None if lead is None else (1 if single else len(lead) + 1)
    # a dense feature whose first dimension is unknown is padded per batch; its shape is as declared all the same
    return [
        *(TensorType(DType.INT64, (None, rank)) for _ in sparse),
        *(TensorType(t, (None,)) for t in sparse),
        *(TensorType(DType.INT64, (rank,)) for _ in sparse),
        *(TensorType(t, None if lead is None or s is None else (*lead, *s)) for t, s in dense),
    ]


def _lookup(call: Call) -> list[TensorType]:
    return [TensorType(call.node.dtype("Tout"), None)]


def _function_call(call: Call) -> list[TensorType]:
    return [TensorType(dtype, None) for _, dtype in call.functions[call.node.op].body.outputs]


def fallback(call: Call) -> Iterable[TensorType]:
    """An op without a rule: its type where one attribute can only mean that, its shape unknown."""
    op = call.node.op
    if op in call.functions:
        return _function_call(call)
    if is_update(op) and call.ins and call.dtype(0) is not DType.RESOURCE:  # gives the variable back
        return same(call)
    if is_side_effect(op) or op.startswith(_OTHER_TYPES):
        return []
    for name in ("Tout", "out_type", "output_type", "DstT", "Toutput", "dtype"):
        attr = call.node.attrs.get(name)
        if attr is not None and attr.kind == "type":
            return [TensorType(attr.value, None)]
        if attr is not None and attr.kind == "list" and name == "Tout":
            return listed_types(call, name)
    return []


def _variable_shape(call: Call) -> list[TensorType]:
    shape = call.handle().shape
    return [TensorType(call.node.dtype("out_type") or DType.INT32, (None if shape is None else len(shape),))]


RULES: dict[str, Rule] = {
    **ARRAY_RULES,
    **LAYER_RULES,
    **table("Placeholder PlaceholderV2 PlaceholderWithDefault", _placeholder),
    **table("Variable VariableV2 TemporaryVariable", _variable),
    **table("VarHandleOp HashTableV2 MutableHashTableV2 MutableDenseHashTableV2", fixed(DType.RESOURCE, ())),
    **table("VarIsInitializedOp IsVariableInitialized", fixed(DType.BOOL, ())),
    **table("AssignAdd AssignSub ScatterAdd ScatterSub ScatterUpdate NextIteration RefNextIteration", same),
    **table("Switch RefSwitch _SwitchN", _switch),
    **table("Merge RefMerge", _merge),
    "LoopCond": fixed(DType.BOOL, ()),
    **table("PartitionedCall StatefulPartitionedCall RemoteCall SymbolicGradient", _listed("Tout")),
    **table("TPUPartitionedCall PyFunc PyFuncStateless EagerPyFunc", _listed("Tout")),
    **table("If StatelessIf Case StatelessCase", _listed("Tout", "output_shapes")),
    **table("While StatelessWhile", _listed("T", "output_shapes")),
    **table("IteratorGetNext IteratorGetNextSync DatasetToSingleElement", _listed("output_types", "output_shapes")),
    **table("QueueDequeue QueueDequeueV2 QueueDequeueMany QueueDequeueManyV2", _dequeue),
    **table("QueueDequeueUpTo QueueDequeueUpToV2", _dequeue),
    **table("QueueSize QueueSizeV2 TensorArraySizeV2 TensorArraySizeV3", fixed(DType.INT32, ())),
    **table("TensorArrayWriteV3 TensorArrayScatterV3 TensorArraySplitV3", fixed(DType.FLOAT, ())),
    **table("TensorArrayReadV3 TensorArrayReadV2", fixed("dtype", None)),
    **table("TensorArrayGatherV3 TensorArrayGatherV2", _tensor_array_gather),
    **table("ParseExample ParseExampleV2 ParseSingleExample", _parse_example),
    **table("LookupTableFind LookupTableFindV2", _lookup),
    **table("LookupTableSize LookupTableSizeV2", fixed(DType.INT64, ())),
    **table("ReadFile ScalarSummary HistogramSummary ImageSummary MergeSummary", fixed(DType.STRING, ())),
    "Assign": _assign,
    "RestoreV2": _listed("dtypes"),
    "RestoreSlice": fixed("dt", None),
    "Restore": fixed("dt", None),
    "ReadVariableOp": _read_variable,
    "ResourceGather": _resource_gather,
    "VariableShape": _variable_shape,
    "IdentityN": _identity_n,
    "TensorArrayV3": _tensor_array,
}
