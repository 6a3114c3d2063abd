"""Restoring a checkpoint into a session by the graph's own Saver, or variable by variable. In the child only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfinspect.errors import UnrestoredVariablesError
from tfinspect.ir.refs import split_input
from tfinspect.runtimes import _graph_file
from tfinspect.runtimes._reports import message_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RESTORE_OP, _FILENAME_TENSOR = "save/restore_all", "save/Const:0"  # what tf.train.Saver calls them
_VARIABLES = frozenset({"Variable", "VariableV2", "VarHandleOp"})
_ASSIGNS = frozenset({"Assign", "AssignVariableOp"})


def saver_names(saver: Any) -> tuple[str, str]:  # noqa: ANN401 - a SaverDef or None
    """Return the restore op and the tensor its path is fed to."""
    if saver is None or not saver.restore_op_name:
        return _RESTORE_OP, _FILENAME_TENSOR
    return saver.restore_op_name, saver.filename_tensor_name


def needed_nodes(graph: Any, saver: Any) -> list[str]:  # noqa: ANN401 - TensorFlow's messages
    """Return names of nodes that must survive pruning for `restore` to work."""
    wanted = {split_input(name)[0] for name in saver_names(saver)}
    return [n.name for n in graph.node if n.name in wanted or n.op in _ASSIGNS]


def restore(
    session: Any,  # noqa: ANN401 - TensorFlow's
    graph: Any,  # noqa: ANN401 - a GraphDef
    saver: Any,  # noqa: ANN401 - a SaverDef or None
    checkpoint: str,
    *,
    fetches: Sequence[str],
    feeds: Mapping[str, Any],
) -> str:
    """Give the variables their values.

    The Saver restores all or nothing, so a checkpoint without the optimizer's slots fails; then those that the fetches
    depend on are assigned one by one, under their own names.

    Returns:
        A note on what was done instead of the usual, or an empty string.

    Raises:
        UnrestoredVariablesError: variables that the fetches depend on are not in the checkpoint.
    """
    from tensorflow.python.framework import errors

    op, filename = saver_names(saver)
    names = {node.name for node in graph.node}
    reason = f"the graph has no node `{op}`"
    if op in names and split_input(filename)[0] in names:
        try:
            session.run(op, {filename: checkpoint})
        except (errors.OpError, ValueError) as error:
            reason = message_lines(error)[0]
        else:
            return ""
    _assign(session, graph, checkpoint, fetches=fetches, feeds=feeds, reason=reason)
    return f"variables were assigned one by one, for the graph's own Saver failed: {reason}"


def _assign(
    session: Any,  # noqa: ANN401 - TensorFlow's
    graph: Any,  # noqa: ANN401 - a GraphDef
    checkpoint: str,
    *,
    fetches: Sequence[str],
    feeds: Mapping[str, Any],
    reason: str,
) -> None:
    from tensorflow.python.training.py_checkpoint_reader import NewCheckpointReader

    reader = NewCheckpointReader(checkpoint)
    inside = _graph_file.reached(graph, fetches, feeds)
    variables = [n.name for n in graph.node if n.op in _VARIABLES and n.name in inside]
    assigns: dict[str, Any] = {}
    for node in graph.node:
        if node.op in _ASSIGNS:
            assigns.setdefault(split_input(node.input[0])[0], node)
    missing = [v for v in variables if not reader.has_tensor(v) or v not in assigns]
    if missing:
        raise UnrestoredVariablesError(
            f"TensorFlow cannot restore {len(missing)} variables that the outputs need from {checkpoint}",
            details=[reason, *(f"`{name}`" for name in missing[:8])],
            evidence={"checkpoint": checkpoint, "missing": missing},
        )
    values = {}
    for name in variables:
        source, index, _ = split_input(assigns[name].input[1])
        values[f"{source}:{index}"] = reader.get_tensor(name)
    session.run([assigns[name].name for name in variables], values)
