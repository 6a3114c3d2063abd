"""ONNX's messages, as field numbers, in a descriptor pool of our own; see `_schema` for the notation.

The names and numbers are those of onnx/onnx.proto. The messages `Lazy...` are the same on the wire, but leave what they
hold as bytes: what lies deep in a file, or is large, is read when asked for.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from tfinspect.formats._schema import Schema

_MESSAGES: Final = """
ModelProto: ir_version=1 int64, producer_name=2 string, producer_version=3 string, domain=4 string, model_version=5 int64, doc_string=6 string, graph=7 GraphProto, opset_import*=8 OperatorSetIdProto, metadata_props*=14 StringStringEntryProto
GraphProto: node*=1 NodeProto, name=2 string, initializer*=5 TensorProto, doc_string=10 string, input*=11 ValueInfoProto, output*=12 ValueInfoProto, value_info*=13 ValueInfoProto
NodeProto: input*=1 string, output*=2 string, name=3 string, op_type=4 string, attribute*=5 AttributeProto, doc_string=6 string, domain=7 string
AttributeProto: name=1 string, f=2 float, i=3 int64, s=4 bytes, t=5 TensorProto, g=6 GraphProto, floats!=7 float, ints!=8 int64, strings*=9 bytes, tensors*=10 TensorProto, graphs*=11 GraphProto, type=20 int32
TensorProto: dims!=1 int64, data_type=2 int32, float_data!=4 float, int32_data!=5 int32, string_data*=6 bytes, int64_data!=7 int64, name=8 string, raw_data=9 bytes, double_data!=10 double, uint64_data!=11 uint64, external_data*=13 StringStringEntryProto, data_location=14 int32
LazyNode: input*=1 string, output*=2 string, name=3 string, op_type=4 string, attribute*=5 LazyAttribute, domain=7 string, overload=8 string
LazyAttribute: name=1 string, f=2 float, i=3 int64, s=4 bytes, t=5 bytes, g=6 bytes, floats!=7 float, ints!=8 int64, strings*=9 bytes, tensors*=10 bytes, graphs*=11 bytes, tp=14 TypeProto, type_protos*=15 TypeProto, type=20 int32, ref_attr_name=21 string, sparse_tensor=22 bytes, sparse_tensors*=23 bytes
LazyFunction: name=1 string, input*=4 string, output*=5 string, attribute*=6 string, opset_import*=9 OperatorSetIdProto, domain=10 string, value_info*=12 ValueInfoProto, overload=13 string
LazyGraph: name=2 string, input*=11 ValueInfoProto, output*=12 ValueInfoProto, value_info*=13 ValueInfoProto
SparseTensorProto: values=1 TensorProto, indices=2 TensorProto, dims!=3 int64
ValueInfoProto: name=1 string, type=2 TypeProto
TypeProto: tensor_type|=1 TensorType
TensorType: elem_type=1 int32, shape=2 TensorShapeProto
TensorShapeProto: dim*=1 Dimension
Dimension: dim_value|=1 int64, dim_param|=2 string
OperatorSetIdProto: domain=1 string, version=2 int64
StringStringEntryProto: key=1 string, value=2 string
"""  # noqa: E501 - one line a message


@functools.cache
def _schema() -> Schema:
    return Schema("onnx", _MESSAGES, {})


@functools.cache
def message_class(name: str) -> Any:  # noqa: ANN401 - made at run time
    """Return the class of an ONNX message, e.g. `message_class("ModelProto")`."""
    return _schema().message_class(name)
