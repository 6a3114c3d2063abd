"""Finding the tensor that is meant: by its name, by the key of a signature, or inside a function that is called."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tfinspect.errors import NodeNotFoundError
from tfinspect.ir.refs import TensorRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.ir.signature import Signature

DEFAULT_SIGNATURE = "serving_default"
_OF_HUB = "default"
INIT = "__saved_model_init_op"


def signature_of(model: Model) -> Signature | None:
    """Return the signature that is meant where none was named: the default one, or the only one."""
    found = {name: one for name, one in model.signatures.items() if name != INIT}
    if len(found) == 1:
        return next(iter(found.values()))
    return found.get(DEFAULT_SIGNATURE) or found.get(_OF_HUB)


def tensor_of(model: Model, text: str) -> TensorRef:
    """Return the tensor of that name, or the one that a signature gives under that key; the default one's come first.

    Raises:
        UsageError: the text is neither.
    """
    preferred = signature_of(model)
    if model.graph is None or text.partition(":")[0] not in model.graph:
        for signature in (*([preferred] if preferred else ()), *model.signatures.values()):
            for spec in signature.outputs:
                if spec.key == text:
                    ref: TensorRef = spec.ref
                    return ref
    return TensorRef.parse(text)


def locate(model: Model, text: str, ends: Sequence[TensorRef] = ()) -> tuple[Model, TensorRef]:
    """Return a tensor and the model whose graph has it: see `opened`.

    Raises:
        NodeNotFoundError: it is nowhere; carries near names.
    """
    found = opened(model, [text], ends)
    ref = tensor_of(found, text)
    graph = found.graph
    if graph is not None and ref.name not in graph:
        keys = [spec.key for one in model.signatures.values() for spec in one.outputs if spec.key]
        where = f" in {graph.source.path}" if graph.source else ""
        raise NodeNotFoundError(
            f"no node named `{ref.name}`{where} ({len(graph):,} nodes)", name=ref.name, known=[*keys, *graph.by_name]
        )
    return found, ref


def opened(model: Model, names: Sequence[str], ends: Sequence[TensorRef] = ()) -> Model:
    """Return a model whose graph has these tensors: where one stands inside a function, calls are replaced by bodies.

    Args:
        model: as `open_graph` gives it; it is what comes back where the graph has them already.
        names: of tensors, or keys of signatures.
        ends: further tensors that must be kept. Where functions were called, only these and the named ones are, and
            variables are constants.

    Raises:
        NodeNotFoundError: one is nowhere; carries near names.
        UnrestoredVariablesError: the checkpoint lacks what they need.
        SurgeryError: a call cannot be replaced.
    """
    graph = model.graph
    if graph is None or not graph.functions:
        return model
    refs = [tensor_of(model, name) for name in names]
    if all(ref.name in graph for ref in refs):
        return model
    from tfinspect.api.at_load import at_load
    from tfinspect.surgery.fold_variables import fold_variables
    from tfinspect.surgery.prune import check_ref

    inlined = called(model, ends)
    if inlined is None:
        return model
    whole = graph.replace(nodes=[*inlined.nodes, *(node for node in graph.nodes if node.name not in inlined)])
    for ref in refs:
        check_ref(whole, ref)
    if model.checkpoint is None:
        return replace(model, graph=whole)
    folded, _ = fold_variables(
        whole, model.checkpoint, list(dict.fromkeys([*refs, *ends])), saver=model.saver, load=at_load(model)
    )
    return replace(model, graph=folded, checkpoint=None)


def called(model: Model, ends: Sequence[TensorRef] = ()) -> Graph | None:
    """Return what the signature that is meant computes, functions replaced by their bodies; None without a signature.

    Args:
        model: as `open_graph` gives it.
        ends: further tensors to compute.

    Raises:
        SurgeryError: a call cannot be replaced.
    """
    signature = signature_of(model)
    outputs = [*ends, *(spec.ref for spec in (signature.outputs if signature else ()))]
    if model.graph is None or not outputs:
        return None
    from tfinspect.surgery.inline_functions import inline_functions

    return inline_functions(model.graph, list(dict.fromkeys(outputs)))
