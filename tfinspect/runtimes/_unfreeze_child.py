"""What the `unfreeze` child serves: a frozen graph as a SavedModel with variables, written and loaded by TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfinspect.errors import RuntimeFailedError
from tfinspect.runtimes import _graph_file
from tfinspect.runtimes._train_child import held_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]

SIGNATURE = "serving_default"


def write(params: Mapping[str, Any], _: list[Array]) -> tuple[Any, list[Array]]:
    """Write the SavedModel.

    Args:
        params: `graph` (file), `folder` (to write), `inputs` (key, tensor, dtype, shape), `outputs` (key, tensor),
            `trainable` and `statistics` (names of Const nodes), `assets` (files).
    """
    import tensorflow as tf

    proto, _saver = _graph_file.read(params["graph"])
    wanted = [tensor for _, tensor in params["outputs"]]
    _graph_file.refuse_side_effects(proto, params["graph"], wanted, [entry[1] for entry in params["inputs"]])
    values = {}
    held = {*params["trainable"], *params["statistics"]}
    for node in proto.node:
        node.device = ""
        if "_class" in node.attr:
            del node.attr["_class"]
        if node.name in held:
            values[node.name] = held_value(node)

    class Unfrozen(tf.Module):  # type: ignore[misc]
        """The model. Loaded again, it has the attributes below and can be called."""

        # attributes in place of tf.Module's properties, which a loaded SavedModel would not have
        trainable_variables: Any = None
        variables: Any = None

        def __init__(self) -> None:
            super().__init__(name="unfrozen")
            made = {
                name: tf.Variable(value, trainable=name not in statistics, name=name, dtype=value.dtype)
                for name, value in values.items()
            }
            self.trainable_variables = [made[name] for name in params["trainable"]]
            self.variables = [made[name] for name in (*params["trainable"], *params["statistics"])]

        @tf.function(input_signature=[tf.TensorSpec(s, tf.as_dtype(d), name=k) for k, _, d, s in params["inputs"]])  # type: ignore[untyped-decorator]
        def __call__(self, *given: Any) -> dict[str, Any]:  # noqa: ANN401 - TensorFlow's
            names = (*params["trainable"], *params["statistics"])
            mapped = {f"{name}:0": v.read_value() for name, v in zip(names, self.variables, strict=True)}
            mapped.update({entry[1]: value for entry, value in zip(params["inputs"], given, strict=True)})
            found = tf.graph_util.import_graph_def(proto, input_map=mapped, return_elements=wanted, name="")
            return {key: value for (key, _), value in zip(params["outputs"], found, strict=True)}

    statistics = set(params["statistics"])
    model = Unfrozen()
    if params["assets"]:
        model.assets = [tf.saved_model.Asset(path) for path in params["assets"]]
    tf.saved_model.save(model, params["folder"], signatures={SIGNATURE: model.__call__})
    return {"runtime": f"tensorflow {tf.__version__}"}, []


def check(params: Mapping[str, Any], arrays: list[Array]) -> tuple[Any, list[Array]]:
    """Load it again, and look whether a gradient reaches every trainable variable.

    Each output is weighted at random before it is summed up: the sum of a softmax is 1, whatever the variables are.

    Returns:
        `reached`, `zero` and `missed`: names of variables whose gradient is there, there but all zero, and not there.
    """
    import tensorflow as tf

    model = tf.saved_model.load(params["folder"])
    variables: Sequence[Any] = list(model.trainable_variables)
    random = np.random.default_rng(0)
    with tf.GradientTape() as tape:
        outputs = model(*[tf.constant(array) for array in arrays])
        total = tf.constant(0.0)
        for key in sorted(outputs):
            value = outputs[key]
            if value.dtype.is_floating:
                weights = tf.constant(random.normal(size=value.shape.as_list()), value.dtype)
                total += tf.cast(tf.reduce_sum(value * weights), tf.float32)
    gradients = tape.gradient(total, variables)
    if len(variables) != params["count"]:
        raise RuntimeFailedError(f"the SavedModel has {len(variables)} trainable variables, not {params['count']}")
    reached: list[str] = []
    zero: list[str] = []
    missed: list[str] = []
    for variable, gradient in zip(variables, gradients, strict=True):
        name = variable.name.removesuffix(":0")
        if gradient is None:
            missed.append(name)
            continue
        dense = tf.convert_to_tensor(gradient)
        if not bool(tf.reduce_all(tf.math.is_finite(dense))):
            raise RuntimeFailedError(f"the gradient of `{name}` is not finite")
        (reached if bool(tf.reduce_any(dense != 0)) else zero).append(name)
    return {"reached": reached, "zero": zero, "missed": missed}, []


def load() -> None:
    """Import TensorFlow."""
    import tensorflow as tf  # noqa: F401 - so that the first call need not


METHODS = {"write": write, "check": check}
