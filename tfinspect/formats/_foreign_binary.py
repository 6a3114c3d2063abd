"""Binary files of other programs, told by what their first bytes mean rather than by one fixed sequence."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from tfinspect.formats import _tags
from tfinspect.formats._foreign_kind import CONVERT_THERE, EXPORT_TO_ONNX, NAME_THE_MODEL, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

_PYTORCH_MAGIC: Final = b"l\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # first thing in files of torch.save before 1.6
_PICKLE: Final = Kind("a Python pickle", EXPORT_TO_ONNX)
_PYTORCH: Final = Kind("a PyTorch file", EXPORT_TO_ONNX)
_JOBLIB: Final = Kind("a Python pickle that joblib wrote", EXPORT_TO_ONNX)
_PROTOCOLS: Final = frozenset({b"\x02", b"\x03", b"\x04", b"\x05"})
_MASK_DELTA = 0xA282EAD8
_RECORD_HEADER_NBYTES = 12
_CAFFE_LAYERS: Final = (b"\x12", b"\xa2\x06", b"\x1a", b"\x42\x06")
_NUMBER, _TEXT, _BYTES = _tags.Payload.NUMBER, _tags.Payload.TEXT, _tags.Payload.BYTES
_FEATURE: Final = _tags.Shape({1: _TEXT, 2: _TEXT, 3: _BYTES}, (frozenset({1, 3}),))
_CORE_ML: Final = _tags.Shape(
    {1: _NUMBER, 2: _tags.Shape({1: _FEATURE, 10: _FEATURE, 11: _TEXT, 12: _TEXT, 100: _BYTES}, (frozenset({1}),))},
    (frozenset({1, 2}),),
)


def binary_kind(head: bytes, size: int, view: memoryview) -> Kind | None:
    """Return what a binary file is; None where it is of no kind known here.

    Args:
        head: the first bytes.
        size: bytes of the file.
        view: all of them, mapped.
    """
    for test in _TESTS:
        if kind := test(head, size):
            return kind
    if head[:1] == b"\x08" and _tags.looks_like(view, _CORE_ML):
        return Kind("a Core ML model (.mlmodel)", CONVERT_THERE)
    return None


def _pickled(head: bytes, _: int) -> Kind | None:
    if _PYTORCH_MAGIC in head[:32]:
        return _PYTORCH
    if head[:1] == b"\x80" and head[1:2] in _PROTOCOLS:
        if b"torch" in head[:512]:
            return _PYTORCH
        return _JOBLIB if b"joblib.numpy_pickle" in head[:512] else _PICKLE
    return None


def _records(head: bytes, size: int) -> Kind | None:
    """Records of TensorFlow: a length, its masked checksum, the bytes and theirs."""
    if len(head) < _RECORD_HEADER_NBYTES:
        return None
    length, checksum = struct.unpack_from("<QL", head)
    if length > size - 16:
        return None
    import crc32c

    crc = crc32c.crc32c(head[:8])
    if ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF != checksum:
        return None
    if b"brain.Event:" in head[_RECORD_HEADER_NBYTES : _RECORD_HEADER_NBYTES + length]:
        return Kind("a TensorBoard event file", "tensorboard --logdir {folder}")
    return Kind("TFRecord data, what a model is trained on", NAME_THE_MODEL)


def _mxnet(head: bytes, _: int) -> Kind | None:
    if head[:8] == (0x112).to_bytes(8, "little"):
        return Kind("MXNet parameters (.params)", CONVERT_THERE)
    return None


def _darknet(head: bytes, size: int) -> Kind | None:
    if size % 4 == 0 and size > 20 and len(head) >= 12:  # noqa: PLR2004 - three numbers, and how many images were seen
        major, minor, revision = struct.unpack_from("<3i", head)
        if major == 0 and minor in {1, 2} and 0 <= revision <= 5:  # noqa: PLR2004 - the versions there have been
            return Kind("weights of a Darknet network (.weights)", CONVERT_THERE)
    return None


def _caffe(head: bytes, _: int) -> Kind | None:
    """A network's parameters begin with its name, and then come layers of either generation, or inputs."""
    length = head[1] if len(head) > 1 else 0
    name = head[2 : 2 + length]
    if head[:1] == b"\x0a" and 0 < length < 128 and len(name) == length and all(32 <= c < 127 for c in name):  # noqa: PLR2004 - one byte, printable
        rest = head[2 + length :]
        if rest.startswith(_CAFFE_LAYERS) and any(
            w in rest[:400] for w in (b"Input", b"Data", b"data", b"Convolution")
        ):
            return Kind("a Caffe model (.caffemodel)", CONVERT_THERE)
    return None


def _nd4j(head: bytes, _: int) -> Kind | None:
    from tfinspect.formats._nd4j import looks_like_array

    if looks_like_array(head):
        return Kind("an array as Deeplearning4j writes it, not a model", NAME_THE_MODEL)
    return None


def _keras_metadata(head: bytes, _: int) -> Kind | None:
    if head[:1] == b"\x0a" and b"_tf_keras_" in head[:200]:
        return Kind("the Keras part of a SavedModel (keras_metadata.pb)", "tfinspect info {folder}")
    return None


_TESTS: Final[tuple[Callable[[bytes, int], Kind | None], ...]] = (
    _pickled, _records, _mxnet, _nd4j, _keras_metadata, _caffe, _darknet,
)  # fmt: skip
