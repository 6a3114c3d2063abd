"""Ops that TensorFlow refuses in graphs of newer producers."""

from __future__ import annotations

# The `deprecation` field of TensorFlow 2.21's op definitions: a graph whose producer version is this or later may not
# use the op, an older graph still may. Hence no pass ever raises a graph's producer version.
_SINCE = {
    2: ("AdjustContrast",),
    3: ("TileGrad",),
    7: ("TopK",),
    8: ("RandomCrop",),
    9: ("BatchNormWithGlobalNormalization", "BatchNormWithGlobalNormalizationGrad"),
    10: ("Conv3DBackpropFilter", "Conv3DBackpropInput"),
    11: ("SelfAdjointEig", "BatchSelfAdjointEig"),
    13: (
        "BatchCholesky", "BatchCholeskyGrad", "BatchMatrixDeterminant", "BatchMatrixInverse", "BatchMatrixSolve",
        "BatchMatrixSolveLs", "BatchMatrixTriangularSolve", "BatchSelfAdjointEigV2", "BatchSvd",
    ),
    14: ("BatchMatrixDiag", "BatchMatrixDiagPart", "BatchMatrixBandPart", "BatchMatrixSetDiag"),
    15: ("BatchFFT", "BatchFFT2D", "BatchFFT3D", "BatchIFFT", "BatchIFFT2D", "BatchIFFT3D", "AudioSummary"),
    19: ("NegTrain", "Skipgram", "TensorArrayScatter"),
    20: ("TensorArrayUnpack",),
    22: ("QuantizeAndDequantize",),
    23: ("PlaceholderV2",),
    25: ("RandomPoisson",),
    26: ("FixedLengthRecordReader", "TFRecordReader", "TextLineReader", "IdentityReader"),
    27: ("MatrixExponential",),
    29: ("StatefulStandardNormal",),
}  # fmt: skip
_BY_OP = {op: version for version, ops in _SINCE.items() for op in ops}


def deprecated_since(op: str) -> int | None:
    """Return the producer version from which on TensorFlow refuses an op, or None."""
    if op.startswith("TensorArray") and op not in _BY_OP:
        if op.endswith("V2"):
            return 26
        return None if op.endswith("V3") else 16
    return _BY_OP.get(op)
