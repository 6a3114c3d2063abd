"""Models with channels first, which TensorFlow does not run on a CPU: each of their layers is given channels last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST: Final = "channels_first"
_LAST = "channels_last"
_AS_IT_IS: Final = frozenset({"Flatten"})  # there the word says what order the values come in
_FORMATS: Final = {3: "NWC", 4: "NHWC", 5: "NDHWC"}


def to_last(rank: int) -> list[int]:
    """Return the permutation that moves the channels from the second place to the last."""
    return [0, *range(2, rank), 1]


def to_first(rank: int) -> list[int]:
    """Return the permutation that moves the channels from the last place to the second."""
    return [0, rank - 1, *range(1, rank - 1)]


def turn_layers(model: Any) -> bool:  # noqa: ANN401 - Keras's
    """Make every layer with channels first compute with channels last between two transpositions.

    Returns:
        Whether there is one: the model then takes images with channels first.
    """
    found = False
    for layer in model._flatten_layers():  # noqa: SLF001 - layers in wrappers have no public list
        if getattr(layer, "data_format", None) == FIRST and type(layer).__name__ not in _AS_IT_IS:
            layer.call = _turned(layer, layer.call)
            found = True
        if getattr(layer, "fused", None) and list(_axes(layer)) == [1]:
            layer.fused = False  # the fused op has channels last only
    return found


def _axes(layer: Any) -> Any:  # noqa: ANN401 - a number or several
    axis = getattr(layer, "axis", ())
    return axis if isinstance(axis, (list, tuple)) else [axis]


def _turned(layer: Any, original: Callable[..., Any]) -> Callable[..., Any]:  # noqa: ANN401 - Keras's
    import tensorflow as tf

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - Keras's
        rank = inputs.shape.rank
        tensor_format = getattr(layer, "_tf_data_format", None)
        layer.data_format = _LAST
        if tensor_format is not None:
            layer._tf_data_format = _FORMATS[rank]  # noqa: SLF001 - worked out once, when the layer was made
        try:
            result = original(tf.transpose(inputs, to_last(rank)), *args, **kwargs)
        finally:
            layer.data_format = FIRST
            if tensor_format is not None:
                layer._tf_data_format = tensor_format  # noqa: SLF001
        return tf.transpose(result, to_first(rank)) if result.shape.rank == rank else result

    return call
