"""Nodes that have the inputs and the type their operation asks for, as far as passes rely on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.errors import InvalidGraphError, counted

if TYPE_CHECKING:
    from tfinspect.ir.graph import Graph

_INPUTS = {
    op: count
    for count, ops in {
        1: "Identity RefIdentity StopGradient PreventGradient Cast Floor Neg Inv Reciprocal Square Sqrt Rsqrt Snapshot "
        "LogicalNot ToBool ZerosLike Squeeze CheckNumerics CheckNumericsV2 Print EnsureShape Merge RefMerge If "
        "StatelessIf DecodeJpeg DecodePng DecodeImage DecodeBmp DecodeGif TopK SelfAdjointEig BatchSelfAdjointEig "
        "ReadVariableOp QuantizeAndDequantize _Retval _DeviceRetval PlaceholderWithDefault Enter RefEnter Exit RefExit "
        "NextIteration RefNextIteration",
        2: "Add AddV2 Sub Mul RealDiv Div Maximum Minimum Equal NotEqual Greater GreaterEqual Less LessEqual Switch "
        "LogicalAnd LogicalOr RefSwitch SquaredDifference Mean Sum Reshape ExpandDims Fill TensorArrayPack Assign "
        "ImageProjectiveTransform AssignSub AssignAdd AssignVariableOp AssignSubVariableOp AssignAddVariableOp",
        3: "Select SelectV2 TensorArrayUnpack Conv3DBackpropInput Conv3DBackpropFilter",
        4: "AdjustContrast",
        5: "FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 BatchNormWithGlobalNormalization",
    }.items()
    for op in ops.split()
}
_TYPED = {
    **dict.fromkeys(("Switch", "RefSwitch", "Merge", "RefMerge", "Select", "SelectV2"), ("T",)),
    **dict.fromkeys(("If", "StatelessIf"), ("Tin", "Tout")),
    "VarHandleOp": ("dtype",),
    "PlaceholderWithDefault": ("dtype",),
}


def check_nodes(graph: Graph) -> None:
    """Check that no node lacks an input or a type that its operation cannot do without.

    Raises:
        InvalidGraphError: one does; the first is named.
    """
    for node in graph.nodes:
        wanted = _INPUTS.get(node.op, 0)
        found = len(node.data_inputs) if wanted else 0
        if found < wanted:
            raise InvalidGraphError(
                f"node `{node.name}` ({node.op}) has {counted(found, 'input')} where the operation takes {wanted}",
                evidence={"node": node.name, "inputs": list(node.inputs)},
            )
        missing = next((name for name in _TYPED.get(node.op, ()) if name not in node.attrs), None)
        if missing is not None:
            raise InvalidGraphError(
                f"node `{node.name}` ({node.op}) lacks the attribute `{missing}`",
                evidence={"node": node.name, "attribute": missing},
            )
