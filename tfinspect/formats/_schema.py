"""TensorFlow's messages, as field numbers, in a descriptor pool of our own.

A private pool cannot clash with the one TensorFlow fills when both are in one process. The names and numbers are those
of tensorflow/core/framework/*.proto and tensorflow/core/protobuf/*.proto, which are fixed for ever by the files they
wrote. Fields left out here are kept as unknown fields and written back.

One line a message: `Name: field=number type`, `*` repeated, `!` packed repeated, `<K,V>` a map, `|` member of the oneof
`value`. `syntax` is proto3 throughout.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    from collections.abc import Mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

_MESSAGES: Final = """
GraphDef: node*=1 NodeDef, library=2 FunctionDefLibrary, version=3 int32, versions=4 VersionDef
NodeDef: name=1 string, op=2 string, input*=3 string, device=4 string, attr=5 <string,AttrValue>, experimental_debug_info=6 DebugInfo, experimental_type=7 FullTypeDef
DebugInfo: original_node_names*=1 string, original_func_names*=2 string
FullTypeDef: type_id=1 FullTypeId, args*=2 FullTypeDef, s|=3 string, i|=4 int64
AttrValue: list|=1 ListValue, s|=2 bytes, i|=3 int64, f|=4 float, b|=5 bool, type|=6 DataType, shape|=7 TensorShapeProto, tensor|=8 TensorProto, placeholder|=9 string, func|=10 NameAttrList
ListValue: s*=2 bytes, i!=3 int64, f!=4 float, b!=5 bool, type!=6 DataType, shape*=7 TensorShapeProto, tensor*=8 TensorProto, func*=9 NameAttrList
NameAttrList: name=1 string, attr=2 <string,AttrValue>
TensorProto: dtype=1 DataType, tensor_shape=2 TensorShapeProto, version_number=3 int32, tensor_content=4 bytes, float_val!=5 float, double_val!=6 double, int_val!=7 int32, string_val*=8 bytes, scomplex_val!=9 float, int64_val!=10 int64, bool_val!=11 bool, dcomplex_val!=12 double, half_val!=13 int32, resource_handle_val*=14 ResourceHandleProto, variant_val*=15 VariantTensorDataProto, uint32_val!=16 uint32, uint64_val!=17 uint64, float8_val=18 bytes
TensorShapeProto: dim*=2 Dim, unknown_rank=3 bool
Dim: size=1 int64, name=2 string
ResourceHandleProto: device=1 string, container=2 string, name=3 string, hash_code=4 uint64, maybe_type_name=5 string, dtypes_and_shapes*=6 DtypeAndShape
DtypeAndShape: dtype=1 DataType, shape=2 TensorShapeProto
VariantTensorDataProto: type_name=1 string, metadata=2 bytes, tensors*=3 TensorProto
VersionDef: producer=1 int32, min_consumer=2 int32, bad_consumers!=3 int32
FunctionDefLibrary: function*=1 FunctionDef, gradient*=2 GradientDef, registered_gradients*=3 RegisteredGradient
GradientDef: function_name=1 string, gradient_func=2 string
RegisteredGradient: gradient_func=1 string, registered_op_type=2 string
FunctionDef: signature=1 OpDef, node_def*=3 NodeDef, ret=4 <string,string>, attr=5 <string,AttrValue>, control_ret=6 <string,string>, arg_attr=7 <uint32,ArgAttrs>, resource_arg_unique_id=8 <uint32,uint32>
ArgAttrs: attr=1 <string,AttrValue>
OpDef: name=1 string, input_arg*=2 ArgDef, output_arg*=3 ArgDef, attr*=4 AttrDef, summary=5 string, description=6 string, deprecation=8 OpDeprecation, is_aggregate=16 bool, is_stateful=17 bool, is_commutative=18 bool, allows_uninitialized_input=19 bool, control_output*=20 string, is_distributed_communication=21 bool
OpDeprecation: version=1 int32, explanation=2 string
ArgDef: name=1 string, description=2 string, type=3 DataType, type_attr=4 string, number_attr=5 string, type_list_attr=6 string, handle_data*=7 DtypeAndShape, is_ref=16 bool, experimental_full_type=17 FullTypeDef
AttrDef: name=1 string, type=2 string, default_value=3 AttrValue, description=4 string, has_minimum=5 bool, minimum=6 int64, allowed_values=7 AttrValue
OpList: op*=1 OpDef
MetaGraphDef: meta_info_def=1 MetaInfoDef, graph_def=2 GraphDef, saver_def=3 SaverDef, collection_def=4 <string,CollectionDef>, signature_def=5 <string,SignatureDef>, asset_file_def*=6 AssetFileDef, object_graph_def=7 SavedObjectGraph
MetaInfoDef: meta_graph_version=1 string, stripped_op_list=2 OpList, any_info=3 Any, tags*=4 string, tensorflow_version=5 string, tensorflow_git_version=6 string, stripped_default_attrs=7 bool, function_aliases=8 <string,string>
Any: type_url=1 string, value=2 bytes
SaverDef: filename_tensor_name=1 string, save_tensor_name=2 string, restore_op_name=3 string, max_to_keep=4 int32, sharded=5 bool, keep_checkpoint_every_n_hours=6 float, version=7 CheckpointFormatVersion
CollectionDef: node_list|=1 NodeList, bytes_list|=2 BytesList, int64_list|=3 Int64List, float_list|=4 FloatList, any_list|=5 AnyList
NodeList: value*=1 string
BytesList: value*=1 bytes
Int64List: value!=1 int64
FloatList: value!=1 float
AnyList: value*=1 Any
SignatureDef: inputs=1 <string,TensorInfo>, outputs=2 <string,TensorInfo>, method_name=3 string, defaults=4 <string,TensorProto>
TensorInfo: name|=1 string, coo_sparse|=4 CooSparse, composite_tensor|=5 CompositeTensor, dtype=2 DataType, tensor_shape=3 TensorShapeProto
CooSparse: values_tensor_name=1 string, indices_tensor_name=2 string, dense_shape_tensor_name=3 string
CompositeTensor: type_spec=1 TypeSpecProto, components*=2 TensorInfo
AssetFileDef: tensor_info=1 TensorInfo, filename=2 string
SavedObjectGraph: nodes*=1 SavedObject, concrete_functions=2 <string,SavedConcreteFunction>
SavedObject: children*=1 ObjectReference, slot_variables*=3 SlotVariableReference, user_object|=4 SavedUserObject, asset|=5 SavedAsset, function|=6 SavedFunction, variable|=7 SavedVariable, bare_concrete_function|=8 SavedBareConcreteFunction, constant|=9 SavedConstant, resource|=10 SavedResource, saveable_objects=11 <string,SaveableObject>, captured_tensor|=12 CapturedTensor, registered_name=13 string, serialized_user_proto=14 Any, dependencies*=15 ObjectReference, registered_saver=16 string
SavedUserObject: identifier=1 string, version=2 VersionDef, metadata=3 string
SavedAsset: asset_file_def_index=1 int32
SavedFunction: concrete_functions*=1 string, function_spec=2 FunctionSpec
SavedVariable: dtype=1 DataType, shape=2 TensorShapeProto, trainable=3 bool, synchronization=4 VariableSynchronization, aggregation=5 VariableAggregation, name=6 string, device=7 string, experimental_distributed_variable_components*=8 SavedVariable
SavedBareConcreteFunction: concrete_function_name=1 string, argument_keywords*=2 string, allowed_positional_arguments=3 int64, function_spec=4 FunctionSpec
SavedConstant: operation=1 string
SavedResource: device=1 string
CapturedTensor: name=1 string, concrete_function=2 string
SaveableObject: save_function=2 int32, restore_function=3 int32
SavedConcreteFunction: bound_inputs!=2 int32, canonicalized_input_signature=3 StructuredValue, output_signature=4 StructuredValue
FunctionSpec: fullargspec=1 StructuredValue, is_method=2 bool, input_signature=5 StructuredValue, jit_compile=6 JitCompile
StructuredValue: none_value|=1 NoneValue, float64_value|=11 double, int64_value|=12 sint64, string_value|=13 string, bool_value|=14 bool, tensor_shape_value|=31 TensorShapeProto, tensor_dtype_value|=32 DataType, tensor_spec_value|=33 TensorSpecProto, type_spec_value|=34 TypeSpecProto, bounded_tensor_spec_value|=35 BoundedTensorSpecProto, list_value|=51 StructuredList, tuple_value|=52 StructuredList, dict_value|=53 DictValue, named_tuple_value|=54 NamedTupleValue, tensor_value|=55 TensorProto, numpy_value|=56 TensorProto
NoneValue:
StructuredList: values*=1 StructuredValue
DictValue: fields=1 <string,StructuredValue>
NamedTupleValue: name=1 string, values*=2 PairValue
PairValue: key=1 string, value=2 StructuredValue
TensorSpecProto: name=1 string, shape=2 TensorShapeProto, dtype=3 DataType
BoundedTensorSpecProto: name=1 string, shape=2 TensorShapeProto, dtype=3 DataType, minimum=4 TensorProto, maximum=5 TensorProto
TypeSpecProto: type_spec_class=1 TypeSpecClass, type_state=2 StructuredValue, type_spec_class_name=3 string, num_flat_components=4 int32
TrackableObjectGraph: nodes*=1 TrackableObject
TrackableObject: children*=1 ObjectReference, attributes*=2 SerializedTensor, slot_variables*=3 SlotVariableReference, registered_saver=4 RegisteredSaver, has_checkpoint_values=5 BoolValue
ObjectReference: node_id=1 int32, local_name=2 string
SerializedTensor: name=1 string, full_name=2 string, checkpoint_key=3 string
SlotVariableReference: original_variable_node_id=1 int32, slot_name=2 string, slot_variable_node_id=3 int32
RegisteredSaver: name=1 string, object_name=2 string
BoolValue: value=1 bool
FingerprintDef: saved_model_checksum=1 uint64, graph_def_program_hash=2 uint64, signature_def_hash=3 uint64, saved_object_graph_hash=4 uint64, checkpoint_hash=5 uint64, version=6 VersionDef, uuid=7 string
ModuleDef: format=1 int32, required_features*=2 string
ModuleAttachment: key=1 string, value=2 bytes
Signatures: default_signature=1 ServingSignature, named_signatures=2 <string,ServingSignature>
ServingSignature: regression_signature|=1 RegressionSignature, classification_signature|=2 ClassificationSignature, generic_signature|=3 GenericSignature
RegressionSignature: input=1 TensorBinding, output=2 TensorBinding
ClassificationSignature: input=1 TensorBinding, classes=2 TensorBinding, scores=3 TensorBinding
GenericSignature: map=1 <string,TensorBinding>
TensorBinding: tensor_name=1 string
ServingAssetFile: tensor_binding=1 TensorBinding, filename=2 string
SavedModel: saved_model_schema_version=1 int64, meta_graphs*=2 MetaGraphDef
VariableDef: variable_name=1 string, initializer_name=2 string, snapshot_name=3 string, save_slice_info_def=4 SaveSliceInfoDef, is_resource=5 bool, initial_value_name=6 string, trainable=7 bool
SaveSliceInfoDef: full_name=1 string, full_shape!=2 int64, var_offset!=3 int64, var_shape!=4 int64
BundleHeaderProto: num_shards=1 int32, endianness=2 Endianness, version=3 VersionDef
BundleEntryProto: dtype=1 DataType, shape=2 TensorShapeProto, shard_id=3 int32, offset=4 int64, size=5 int64, crc32c=6 fixed32, slices*=7 TensorSliceProto
BundleEntryLazyShape: dtype=1 DataType, shape=2 bytes, shard_id=3 int32, offset=4 int64, size=5 int64, crc32c=6 fixed32, slices*=7 TensorSliceProto
TensorSliceProto: extent*=1 Extent
Extent: start=1 int64, length|=2 int64
SavedTensorSlices: meta=1 SavedTensorSliceMeta, data=2 SavedSlice
SavedTensorSliceMeta: tensor*=1 SavedSliceMeta, versions=2 VersionDef
SavedSliceMeta: name=1 string, shape=2 TensorShapeProto, type=3 DataType, slice*=4 TensorSliceProto
SavedSlice: name=1 string, slice=2 TensorSliceProto, data=3 TensorProto
CheckpointState: model_checkpoint_path=1 string, all_model_checkpoint_paths*=2 string, all_model_checkpoint_timestamps!=3 double, last_preserved_timestamp=4 double
"""  # noqa: E501 - one line a message

_ENUMS: Final = {
    "DataType": {f"DT_{d.name}": int(d) for d in DType}
    | {f"DT_{d.name}_REF": int(d) + 100 for d in DType if d is not DType.INVALID},
    "Endianness": {"LITTLE": 0, "BIG": 1},
    "CheckpointFormatVersion": {"LEGACY": 0, "V1": 1, "V2": 2},
    "JitCompile": {"DEFAULT": 0, "ON": 1, "OFF": 2},
    "VariableSynchronization": {
        f"VARIABLE_SYNCHRONIZATION_{word}": n for n, word in enumerate(("AUTO", "NONE", "ON_WRITE", "ON_READ"))
    },
    "VariableAggregation": {
        f"VARIABLE_AGGREGATION_{word}": n for n, word in enumerate(("NONE", "SUM", "MEAN", "ONLY_FIRST_REPLICA"))
    },
    "TypeSpecClass": {
        "UNKNOWN": 0, "SPARSE_TENSOR_SPEC": 1, "INDEXED_SLICES_SPEC": 2, "RAGGED_TENSOR_SPEC": 3,
        "TENSOR_ARRAY_SPEC": 4, "DATA_DATASET_SPEC": 5, "DATA_ITERATOR_SPEC": 6, "OPTIONAL_SPEC": 7,
        "PER_REPLICA_SPEC": 8, "VARIABLE_SPEC": 9, "ROW_PARTITION_SPEC": 10, "REGISTERED_TYPE_SPEC": 12,
        "EXTENSION_TYPE_SPEC": 13,
    },
    "FullTypeId": {  # numbers would do in binary; text files spell the names
        "TFT_UNSET": 0, "TFT_VAR": 1, "TFT_ANY": 2, "TFT_PRODUCT": 3, "TFT_NAMED": 4, "TFT_FOR_EACH": 20,
        "TFT_CALLABLE": 100, "TFT_BOOL": 200, "TFT_UINT8": 201, "TFT_UINT16": 202, "TFT_UINT32": 203,
        "TFT_UINT64": 204, "TFT_INT8": 205, "TFT_INT16": 206, "TFT_INT32": 207, "TFT_INT64": 208, "TFT_HALF": 209,
        "TFT_FLOAT": 210, "TFT_DOUBLE": 211, "TFT_COMPLEX64": 212, "TFT_COMPLEX128": 213, "TFT_STRING": 214,
        "TFT_BFLOAT16": 215, "TFT_TENSOR": 1000, "TFT_ARRAY": 1001, "TFT_OPTIONAL": 1002, "TFT_LITERAL": 1003,
        "TFT_ENCODED": 1004, "TFT_SHAPE_TENSOR": 1005, "TFT_DATASET": 10102, "TFT_RAGGED": 10103,
        "TFT_ITERATOR": 10104, "TFT_MUTEX_LOCK": 10202, "TFT_LEGACY_VARIANT": 10203,
    },
}  # fmt: skip

_F = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "string": _F.TYPE_STRING, "bytes": _F.TYPE_BYTES, "int32": _F.TYPE_INT32, "int64": _F.TYPE_INT64,
    "uint32": _F.TYPE_UINT32, "uint64": _F.TYPE_UINT64, "bool": _F.TYPE_BOOL, "float": _F.TYPE_FLOAT,
    "double": _F.TYPE_DOUBLE, "fixed32": _F.TYPE_FIXED32, "sint64": _F.TYPE_SINT64,
}  # fmt: skip


class Schema:
    """Messages of one package, in a descriptor pool of their own.

    Args:
        package: protobuf package; text-format files may spell types out.
        messages: the table, in the form described above.
        enums: numbers by name, by enum.
    """

    def __init__(self, package: str, messages: str, enums: Mapping[str, Mapping[str, int]]) -> None:
        self._package = package
        self._enums = enums
        file = descriptor_pb2.FileDescriptorProto(name=f"{package}/schema.proto", package=package, syntax="proto3")
        for enum_name, values in enums.items():
            enum = file.enum_type.add(name=enum_name)
            for name, number in values.items():
                enum.value.add(name=name, number=number)
        for line in messages.strip().splitlines():
            name, _, fields = line.partition(":")
            message = file.message_type.add(name=name)
            for text in filter(None, fields.strip().split(", ")):
                self._add_field(message, text)
        self._pool = descriptor_pool.DescriptorPool()
        self._pool.Add(file)

    def message_class(self, name: str) -> Any:  # noqa: ANN401 - made at run time
        """Return the class of a message."""
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"{self._package}.{name}"))

    def _set_type(self, field: descriptor_pb2.FieldDescriptorProto, kind: str) -> None:
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        else:
            field.type = _F.TYPE_ENUM if kind in self._enums else _F.TYPE_MESSAGE
            field.type_name = f".{self._package}.{kind}"

    def _add_field(self, message: descriptor_pb2.DescriptorProto, text: str) -> None:
        left, kind = text.split(" ", 1)
        name, number = left.split("=")
        field = message.field.add(name=name.rstrip("*!|"), number=int(number), label=_F.LABEL_OPTIONAL)
        if name.endswith(("*", "!")):
            field.label = _F.LABEL_REPEATED
        if name.endswith("|"):
            if not message.oneof_decl:
                message.oneof_decl.add(name="value")
            field.oneof_index = 0
        if kind.startswith("<"):
            key, value = kind.strip("<>").split(",")
            entry = message.nested_type.add(name="".join(p.title() for p in field.name.split("_")) + "Entry")
            entry.options.map_entry = True
            self._set_type(entry.field.add(name="key", number=1, label=_F.LABEL_OPTIONAL), key)
            self._set_type(entry.field.add(name="value", number=2, label=_F.LABEL_OPTIONAL), value)
            field.label = _F.LABEL_REPEATED
            field.type = _F.TYPE_MESSAGE
            field.type_name = f".{self._package}.{message.name}.{entry.name}"
        else:
            self._set_type(field, kind)


@functools.cache
def _schema() -> Schema:
    return Schema("tensorflow", _MESSAGES, _ENUMS)


@functools.cache
def message_class(name: str) -> Any:  # noqa: ANN401 - made at run time
    """Return the class of a TensorFlow message, e.g. `message_class("GraphDef")`."""
    return _schema().message_class(name)
