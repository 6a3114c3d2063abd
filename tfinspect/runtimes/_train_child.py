"""What the `trainer` child serves: a trunk whose constants are variables, a softmax head, and steps of an optimizer.

The graph is imported with each chosen constant mapped to the reading of a resource variable, so that everything else
of it stays as it is. Gradients are TensorFlow's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfinspect.errors import UnsupportedOpsError
from tfinspect.ir.head import ACTIVATIONS
from tfinspect.ir.trainer import head_name
from tfinspect.runtimes import _graph_file, _lean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]

_SLOTS = {"adam": ("m", "v"), "momentum": ("momentum",), "sgd": ()}
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8
_MOMENTUM = 0.9
_MATHS = frozenset({"sigmoid", "tanh"})  # the other activations are ops of their own among those for networks
_STEP = ":step"
_AT_ONCE_NBYTES = 1 << 26  # of variables that are set by one run: each other set of them costs a plan of its own


class _Variables:
    """Variables of a session by name: how to read one, and how to set it."""

    def __init__(self) -> None:
        self.read: dict[str, Any] = {}
        self.handles: dict[str, Any] = {}
        self._assign: dict[str, tuple[Any, Any]] = {}
        self.initial: dict[str, Array] = {}

    def add(self, name: str, value: Array) -> Any:  # noqa: ANN401 - a tensor
        from tensorflow.python.framework import dtypes
        from tensorflow.python.ops import array_ops
        from tensorflow.python.ops import gen_resource_variable_ops as variables

        dtype = dtypes.as_dtype(value.dtype)
        handle = variables.var_handle_op(dtype=dtype, shape=value.shape, shared_name=f"variable/{name}")
        read = variables.read_variable_op(handle, dtype)
        read.set_shape(value.shape)
        given = array_ops.placeholder(dtype, value.shape)
        self.handles[name] = handle
        self.read[name] = read
        self._assign[name] = (variables.assign_variable_op(handle, given), given)
        self.initial[name] = value
        return read

    def set(self, session: Any, values: Mapping[str, Array]) -> None:  # noqa: ANN401 - TensorFlow's
        """Set some of them, a part at a time, so that large ones are not all held at once."""
        ops, feeds, nbytes = [], {}, 0
        for place, (name, value) in enumerate(values.items(), 1):
            op, given = self._assign[name]
            ops.append(op)
            feeds[given] = value
            nbytes += value.nbytes
            if nbytes >= _AT_ONCE_NBYTES or place == len(values):
                session.run(ops, feeds)
                ops, feeds, nbytes = [], {}, 0


class _Training:
    """One task in one session."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        from tensorflow.python.client.session import Session
        from tensorflow.python.framework import ops, random_seed

        self.params = params
        graph = ops.Graph()
        self.session = Session(graph=graph, config=_config())
        self.variables = _Variables()
        with graph.as_default():
            random_seed.set_random_seed(params["seed"])
            self._trunk(params)
            self._head(params["head"])
            self._optimizer(params)
        graph.finalize()
        self.variables.set(self.session, self.variables.initial)
        self.variables.initial.clear()

    def _trunk(self, params: Mapping[str, Any]) -> None:
        from tensorflow.python.framework import importer
        from tensorflow.python.framework.ops import get_default_graph

        proto, _ = _graph_file.read(params["graph"])
        norms = params["norms"]
        names = dict.fromkeys((*params["rates"], *(n[k] for n in norms for k in ("mean", "variance"))))
        mapped = {}
        for node in proto.node:
            node.device = ""
            if "_class" in node.attr:
                del node.attr["_class"]
            if node.name in names:
                mapped[f"{node.name}:0"] = self.variables.add(node.name, held_value(node))
        _graph_file.refuse_side_effects(proto, params["graph"], [params["bottleneck"]], [params["start"]])
        importer.import_graph_def(proto, input_map=mapped, name="trunk")
        graph = get_default_graph()
        self.start = graph.get_tensor_by_name(f"trunk/{params['start']}")
        self.bottleneck = graph.get_tensor_by_name(f"trunk/{params['bottleneck']}")
        self._updates = [
            self._follow(graph.get_tensor_by_name(f"trunk/{norm['input']}"), norm, params["momentum"]) for norm in norms
        ]

    def _follow(self, values: Any, norm: Mapping[str, Any], momentum: float) -> Any:  # noqa: ANN401
        """Return what moves the statistics of a batch norm towards those of the batch."""
        from tensorflow.python.framework import ops
        from tensorflow.python.ops import control_flow_ops, nn_impl
        from tensorflow.python.ops import gen_resource_variable_ops as variables

        rank = values.shape.rank
        axes = [axis for axis in range(rank) if axis != norm["channel_axis"] % rank]
        mean, variance = nn_impl.moments(values, axes)
        made = []
        for name, found in ((norm["mean"], mean), (norm["variance"], variance)):
            old = self.variables.read[name]
            with ops.control_dependencies([old]):
                made.append(
                    variables.assign_sub_variable_op(self.variables.handles[name], (old - found) * (1 - momentum))
                )
        return control_flow_ops.group(*made)

    def _head(self, layers: Sequence[tuple[int, str]]) -> None:
        from tensorflow.python.framework import dtypes
        from tensorflow.python.ops import array_ops, gen_nn_ops, math_ops, nn_ops

        width = int(np.prod(self.bottleneck.shape.as_list()[1:]))
        self.flat = array_ops.reshape(self.bottleneck, [-1, width])
        values = self.flat
        self._head_weights = []
        for number, (units, activation) in enumerate(layers):
            name = head_name(number, "weights")
            weights = self.variables.add(name, np.zeros((width, units), np.float32))
            biases = self.variables.add(head_name(number, "biases"), np.zeros(units, np.float32))
            values = nn_ops.bias_add(math_ops.matmul(values, weights), biases)
            if ACTIVATIONS[activation]:
                values = getattr(gen_nn_ops if activation not in _MATHS else math_ops, activation)(values)
            self._head_weights.append(name)
            width = units
        self.logits = values
        classes = width
        self.targets = array_ops.placeholder(dtypes.float32, [None, classes])
        losses = nn_ops.softmax_cross_entropy_with_logits_v2(labels=self.targets, logits=self.logits)
        self.entropy = math_ops.reduce_mean(losses)
        hits = math_ops.equal(math_ops.argmax(self.logits, 1), math_ops.argmax(self.targets, 1))
        self.right = math_ops.reduce_sum(math_ops.cast(hits, dtypes.int32))

    def _optimizer(self, params: Mapping[str, Any]) -> None:
        from tensorflow.python.framework import dtypes
        from tensorflow.python.ops import array_ops, control_flow_ops, gradients_impl, math_ops, nn_ops

        self.rate = array_ops.placeholder(dtypes.float32, [])
        self.count = array_ops.placeholder(dtypes.float32, [])
        self.steps = 0
        head = [head_name(i, leaf) for i in range(len(params["head"])) for leaf in ("weights", "biases")]
        rates = {**params["rates"], **dict.fromkeys(head, 1.0)}
        loss = self.entropy
        decaying = [*params["decaying"], *self._head_weights]
        if params["l2"]:
            squares = [nn_ops.l2_loss(self.variables.read[name]) for name in decaying if name in rates]
            loss += params["l2"] * math_ops.add_n(squares)
        self.loss = loss
        self._powers = [math_ops.pow(beta, self.count) for beta in (_BETA_1, _BETA_2)]
        names = list(rates)
        gradients = gradients_impl.gradients(loss, [self.variables.read[name] for name in names])
        cut_off = [name for name, gradient in zip(names, gradients, strict=True) if gradient is None]
        if cut_off:
            raise UnsupportedOpsError(
                f"no gradient reaches `{cut_off[0]}`",
                details=cut_off[1:6],
                hint="choose layers nearer to the bottleneck: --from T",
                evidence={"names": cut_off},
            )
        applied = [
            self._apply(params["optimizer"], name, gradient, self.rate * rates[name])
            for name, gradient in zip(names, gradients, strict=True)
        ]
        self.train = control_flow_ops.group(*applied, *self._updates)

    def _apply(self, optimizer: str, name: str, gradient: Any, rate: Any) -> Any:  # noqa: ANN401 - TensorFlow's
        from tensorflow.python.ops import gen_training_ops as training

        variable = self.variables.handles[name]
        shape, dtype = self.variables.initial[name].shape, self.variables.initial[name].dtype
        for slot in _SLOTS[optimizer]:
            self.variables.add(f"{name}:{slot}", np.zeros(shape, dtype))
        slots = [self.variables.handles[f"{name}:{slot}"] for slot in _SLOTS[optimizer]]
        if optimizer == "adam":
            return training.resource_apply_adam(
                variable, *slots, *self._powers, rate, _BETA_1, _BETA_2, _EPSILON, gradient, use_locking=False
            )
        if optimizer == "momentum":
            return training.resource_apply_momentum(variable, *slots, rate, gradient, _MOMENTUM, use_nesterov=True)
        return training.resource_apply_gradient_descent(variable, rate, gradient)

    def step(self, images: Array, targets: Array, rate: float) -> tuple[float, int]:
        """Take one step."""
        feeds = {self.start: images, self.targets: targets, self.rate: rate, self.count: float(self.steps + 1)}
        loss, right, _ = self.session.run([self.loss, self.right, self.train], feeds)
        self.steps += 1
        return float(loss), int(right)

    def state(self) -> dict[str, Array]:
        """Read all variables."""
        values = self.session.run(self.variables.read)
        return {**values, _STEP: np.array(self.steps, np.int64)}

    def restore(self, values: Mapping[str, Array]) -> None:
        """Set variables."""
        rest = dict(values)
        steps = rest.pop(_STEP, None)
        if steps is not None:
            self.steps = int(steps)
        self.variables.set(self.session, rest)


def held_value(node: Any) -> Array:  # noqa: ANN401 - a NodeDef
    """Take the value out of a Const node, which becomes a Placeholder of the same name."""
    from tensorflow.python.framework.tensor_util import MakeNdarray

    value: Array = MakeNdarray(node.attr["value"].tensor)
    dtype = node.attr["dtype"].type
    node.op = "Placeholder"
    del node.attr["value"]
    node.attr["dtype"].type = dtype
    for size in value.shape:
        node.attr["shape"].shape.dim.add(size=size)
    return value


def _config() -> Any:  # noqa: ANN401 - TensorFlow's
    from tensorflow.core.protobuf import config_pb2

    return config_pb2.ConfigProto(allow_soft_placement=True)


_open: list[_Training] = []


def _current() -> _Training:
    return _open[0]


def open_task(params: Mapping[str, Any], _: list[Array]) -> tuple[Any, list[Array]]:
    """Build the graph of a task, in place of the one before."""
    import tensorflow as tf

    close({}, [])
    _open.append(_Training(params))
    return {"runtime": f"tensorflow {tf.__version__}"}, []


def features(_: Mapping[str, Any], arrays: list[Array]) -> tuple[Any, list[Array]]:
    """Run to the bottleneck."""
    current = _current()
    return None, [current.session.run(current.flat, {current.start: arrays[0]})]


def logits(_: Mapping[str, Any], arrays: list[Array]) -> tuple[Any, list[Array]]:
    """Run to the end of the head."""
    current = _current()
    return None, [current.session.run(current.logits, {current.start: arrays[0]})]


def step(params: Mapping[str, Any], arrays: list[Array]) -> tuple[Any, list[Array]]:
    """Train on one batch."""
    loss, right = _current().step(arrays[0], arrays[1], params["rate"])
    return {"loss": loss, "right": right}, []


def state(_: Mapping[str, Any], __: list[Array]) -> tuple[Any, list[Array]]:
    """All that a checkpoint holds."""
    values = _current().state()
    return list(values), list(values.values())


def restore(params: Mapping[str, Any], arrays: list[Array]) -> tuple[Any, list[Array]]:
    """Go back to a checkpoint."""
    names: Sequence[str] = params["names"]
    _current().restore(dict(zip(names, arrays, strict=True)))
    return None, []


def close(_: Mapping[str, Any], __: list[Array]) -> tuple[Any, list[Array]]:
    """Give the memory back."""
    while _open:
        _open.pop().session.close()
    return None, []


def load() -> None:
    """Import what training needs of TensorFlow."""
    _lean.lean()
    import tensorflow.python.client.session
    import tensorflow.python.framework.importer
    import tensorflow.python.ops.gradients_impl
    import tensorflow.python.ops.nn_grad
    import tensorflow.python.ops.nn_impl  # noqa: F401 - so that the first call need not


METHODS = {
    "open": open_task, "features": features, "logits": logits, "step": step, "state": state, "restore": restore,
    "close": close,
}  # fmt: skip
