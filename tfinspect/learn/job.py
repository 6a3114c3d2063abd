"""What a worker must know to turn images into features; small, and picklable, so that it can go to other machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfinspect.learn.preprocess import Recipe


@dataclass(frozen=True, slots=True)
class Job:
    """One trunk, from prepared pixels to features.

    Attributes:
        model: path of the trunk as ONNX, its batch dimension free; or of the cut graph, for TensorFlow.
        input: name of the tensor that takes a batch of what `recipe` gives, [batch, height, width, channels].
        output: name of the bottleneck; what it gives for an image is flattened.
        recipe: what is done to pixels first.
        dtype: NumPy's name of the element type of `input`.
        batch: images computed together. A batch that is not full is filled up, so that the features of an image do not
            depend on how many others there are.
        fast_dct: how JPEG is decoded; see `learn.images.decode`.
    """

    model: str
    input: str
    output: str
    recipe: Recipe
    dtype: str = "float32"
    batch: int = 32
    fast_dct: bool = True
