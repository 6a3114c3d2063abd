"""How much two runtimes may differ, from how much one differs from itself.

Errors are measured in units of how much a tensor varies over the inputs (`compare.Scales`). The bounds for float32
come from measurements on MobileNet v2, ResNet-50 and small networks: TensorFlow against onnxruntime gives 5e-7 to
2.2e-5, each runtime against itself without graph optimisation about as much; one weight of a middle layer times 1.01
gives 8.7e-5. Where a runtime's variants happen to sum in the same order, as for a chain of dense layers on some
processors, they hide the noise: 0.5e-6 against itself, 2.6e-6 against the other. So the least tolerance is twice that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfinspect.ir.dtypes import DType

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_NOISE_FACTOR = 5.0
_ELEMENT_FACTOR = 30.0  # the worst of a million elements against the RMS over all


@dataclass(frozen=True, slots=True)
class Precision:
    """What may be asked of a floating-point type.

    Attributes:
        epsilon: distance from 1 to the next number.
        least: tolerance where the runtimes show no noise at all.
        most: tolerance that no noise can raise further, and the noise above which nothing is proved.
        floor: noise that has to be expected anyway, in rounding steps of the largest values.
    """

    epsilon: float
    least: float
    most: float
    floor: float


_FLOAT32 = Precision(2.0**-23, 5e-6, 1e-4, 2.0)
_PRECISIONS = {
    DType.FLOAT: _FLOAT32,
    DType.COMPLEX64: _FLOAT32,
    DType.DOUBLE: Precision(2.0**-52, 1e-12, 1e-8, 2.0),
    DType.COMPLEX128: Precision(2.0**-52, 1e-12, 1e-8, 2.0),
    DType.HALF: Precision(2.0**-10, 5e-3, 5e-3, 0.5),
    DType.BFLOAT16: Precision(2.0**-7, 3e-2, 3e-2, 0.5),
}
_EIGHT_BITS = Precision(2.0**-3, 0.25, 0.25, 0.25)


def precision_of(dtype: DType) -> Precision:
    """Return what may be asked of a floating-point type; types of eight bits and less share one row."""
    return _PRECISIONS.get(dtype, _EIGHT_BITS)


@dataclass(frozen=True, slots=True)
class Override:
    """The caller's own tolerance: |difference| <= atol + rtol * |reference|, element by element."""

    rtol: float = 0.0
    atol: float = 0.0


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The bounds one output is held to.

    Attributes:
        value: bound on the error of every item, as a share of its variation.
        noise: the noise it was made from, on the same scale.
        override: the caller's tolerance, which replaces the bound where given.
    """

    value: float
    noise: float
    override: Override | None = None

    def element_bounds(self, reference: npt.NDArray[np.float64], scale: float) -> npt.NDArray[np.float64]:
        """Return the greatest difference allowed for each element of an item that varies by `scale`."""
        import numpy as np

        if self.override is not None:
            return self.override.atol + self.override.rtol * np.abs(reference)
        # the second term lets a lone large value be rounded as large values are
        return _ELEMENT_FACTOR * self.value * scale + self.value * np.abs(reference)


def tolerance_for(noise: float, precision: Precision, override: Override | None = None) -> Tolerance:
    """Return the tolerance for a tensor whose runtimes show that much noise."""
    value = min(max(_NOISE_FACTOR * noise, precision.least), precision.most)
    return Tolerance(value, noise, override)
