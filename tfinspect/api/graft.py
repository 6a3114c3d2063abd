"""Grafting: a trained head onto a trunk."""

from __future__ import annotations

import contextlib
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfinspect import formats
from tfinspect.api import companions
from tfinspect.api.freeze import ends_of
from tfinspect.api.labels import check_labels, read_labels
from tfinspect.api.load import PathLike, open_for_images, open_graph
from tfinspect.api.locate import locate
from tfinspect.api.prepare import choose_outputs, fold, inputs_of, model_graph
from tfinspect.api.recipe import carried
from tfinspect.errors import UsageError, WrongKindError
from tfinspect.formats import _atomic
from tfinspect.ir.head import DenseHead, GraphHead
from tfinspect.ir.refs import TensorRef
from tfinspect.learn.preprocess import Recipe
from tfinspect.surgery import graft as surgery_graft
from tfinspect.surgery.connect import find_unconnected_head, join
from tfinspect.surgery.prune import prune
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.ir.signature import TensorSpec

Head = DenseHead | GraphHead


@dataclass(frozen=True, slots=True)
class Grafted:
    """A trunk with its new head.

    Attributes:
        graph: the joined graph.
        inputs: what it takes.
        outputs: what it gives.
        joined: (tensor of the trunk, what it was joined to).
        labels: of the classes, in order; may be empty.
        recipe: what is to be done to photos before they go in; None where that is not known, or done by the graph.
        warnings: signs that the head was trained for another trunk or tensor.
    """

    graph: Graph
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    joined: tuple[str, str]
    labels: tuple[str, ...]
    recipe: Recipe | None = None
    warnings: tuple[str, ...] = ()


def read_head(path: PathLike, *, scope: str | None = None) -> Head:
    """Read a head: `.npz` (`weights`, `biases`, or `0/weights`...), a frozen graph, or a checkpoint with its `.meta`.

    Args:
        path: the file.
        scope: of a graph, the scope the head lives in.

    Raises:
        InputError: the file cannot be read.
        WrongKindError: it is a file of features.
        UsageError: of a graph it is not clear which placeholder is the input.
    """
    row = formats.identify(path)
    if row.name == "head_npz":
        from tfinspect.formats import heads

        return heads.read(path)
    if row.name == "features_npz":
        name = os.fspath(path)
        raise WrongKindError(
            f"{name} is {row.a_title}, not a head",
            hint=f"train one on it: tfinspect train-head {shlex.quote(name)} -o head.npz",
            evidence={"path": name, "format": row.name},
        )
    model = open_graph(path)
    graph = model_graph(model)
    ends = _head_outputs(model, scope)
    graph = prune(fold(model, ends), ends)
    inputs = inputs_of(graph, TensorTypes(graph))
    if len(inputs) != 1:
        raise UsageError(
            f"the head {os.fspath(path)} has {len(inputs)} inputs, one was expected",
            details=[str(e.ref) for e in inputs],
            hint="choose the part that is the head: --head-scope SCOPE",
        )
    return GraphHead(graph, inputs[0].ref, tuple(ends), ())


def _head_outputs(model: Model, scope: str | None) -> list[TensorRef]:
    if scope is None:
        return choose_outputs(model, ())
    graph = model_graph(model)
    base = scope.rstrip("/")
    inside = [n for n in graph.nodes if n.name == base or n.name.startswith(base + "/")]
    if not inside:
        raise UsageError(
            f"no node of {model.path} is in the scope `{scope}`", hint=f"list them: tfinspect nodes {model.path}"
        )
    names = {n.name for n in inside}
    from tfinspect.surgery.endpoints import find_outputs

    part = graph.replace(nodes=prune(graph, [TensorRef(n.name) for n in inside]).nodes)
    found = [e.ref for e in find_outputs(part, TensorTypes(part)) if e.ref.name in names]
    if not found:
        raise UsageError(f"the scope `{scope}` of {model.path} has no output", hint="name another with --head-scope")
    return found


def graft(
    trunk: PathLike | Graph | Model,
    head: Head | PathLike | None = None,
    *,
    bottleneck: str,
    name: str = "head",
    keep: bool = False,
    head_scope: str | None = None,
) -> Graph:
    """Join a head to a trunk; see `graft_model`."""
    return graft_model(trunk, head, bottleneck=bottleneck, name=name, keep=keep, head_scope=head_scope).graph


def graft_model(
    path: PathLike | Graph | Model,
    head: Head | PathLike | None = None,
    *,
    bottleneck: str,
    name: str = "head",
    keep: bool = False,
    head_scope: str | None = None,
    labels: Sequence[str] = (),
) -> Grafted:
    """Join a head to a trunk, and prove that every node and weight of both is there unchanged.

    Args:
        path: the trunk: a graph, or anything `open_graph` opens.
        head: the head, or the file of one; None: the classifier inside the model that was trained beside the trunk but
            never connected to it.
        bottleneck: tensor of the trunk that the head takes, or the key of an output of its signature.
        name: prefix of everything that is added; the outputs of a dense head are `name/logits` and `name/softmax`.
        keep: keep the old head as well.
        head_scope: of a head given as a graph, the scope it lives in.
        labels: names of the classes.

    Raises:
        NodeNotFoundError: the bottleneck is not in the graph.
        IncompatibleGraftError: dtype or shape of both sides differ.
        AlreadyConnectedError: without `head`: the classifier is connected already.
        NameCollisionError: the trunk uses the prefix.
    """
    model = open_graph(path)
    if isinstance(head, (str, os.PathLike)):
        head = read_head(head, scope=head_scope)
    made: Mapping[str, Any] = head.made if isinstance(head, DenseHead) else {}
    if (size := _size_of(made)) is not None:
        with contextlib.suppress(UsageError):  # the head is of another trunk, which is said below
            model = open_for_images(path, size)
    kept = choose_outputs(model, ()) if keep and head is not None else []
    model, ref = locate(model, bottleneck, kept)
    if head is None:
        return _connect(model, ref, labels)
    trunk = fold(model, [ref, *kept])
    done = surgery_graft.graft(trunk, head, ref, name=name, keep=keep, types=TensorTypes(trunk))
    names = tuple(labels) or tuple(head.labels)
    check_labels(names, _classes(ends_of(done.graph, done.outputs)[1]))
    inputs, outputs = ends_of(done.graph, [*done.outputs, *kept])
    return Grafted(
        done.graph,
        inputs,
        outputs,
        (str(ref), f"{name}/"),
        names,
        _recipe(made, model, ref, inputs),
        tuple(_doubts(made, model, ref)),
    )


def _recipe(made: Mapping[str, Any], model: Model, ref: TensorRef, inputs: Sequence[TensorSpec]) -> Recipe | None:
    """Return how photos were prepared when the head was trained, else what is recorded with the trunk."""
    found = made.get("preprocessing")
    if isinstance(found, dict):
        return Recipe.from_json(found, "the head")
    return carried(model, [ref], [spec.ref for spec in inputs], as_graph=True)


def _size_of(made: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the size of the photos that a head was trained on, None where it does not say one."""
    prepared = made.get("preprocessing")
    size = prepared.get("size") if isinstance(prepared, dict) else None
    match size:
        case [int(height), int(width)] if height > 0 and width > 0:
            return height, width
    return None


def _doubts(made: Mapping[str, Any], model: Model, ref: TensorRef) -> Iterator[str]:
    """Say where the head remembers another trunk than it is put on."""
    told = made.get("bottleneck")
    if isinstance(told, str) and told and TensorRef.parse(told) != ref:
        yield f"the head was trained on features of `{told}`, not of `{ref}`"
        return
    wanted = made.get("trunk_sha256")
    if not isinstance(wanted, str) or not wanted:
        return
    found = _trunk_sha256(made, model, ref)
    if found != wanted:
        name = made.get("trunk")
        other = f" ({name})" if isinstance(name, str) and name else ""
        yield (
            f"the head was trained on features of another trunk{other}"
            if found is not None
            else "whether the head was trained on features of this trunk cannot be told: no photos go into it as it is"
        )


def _trunk_sha256(made: Mapping[str, Any], model: Model, ref: TensorRef) -> str | None:
    """Return what `features` calls the part of a model that leads to a tensor, None where no photos go in."""
    from tfinspect.api.trunk import open_trunk

    for size in (None, _size_of(made)):  # a size has no place where the graph has one of its own
        try:
            return open_trunk(model, bottleneck=str(ref), size=size).sha256
        except UsageError:
            continue
    return None


def _connect(model: Model, ref: TensorRef, labels: Sequence[str]) -> Grafted:
    whole = model_graph(model)
    found = find_unconnected_head(whole, ref, TensorTypes(whole))
    graph = fold(model, [ref, *found.outputs])
    graph = prune(graph, [ref, *found.outputs])
    joined = prune(join(graph, found.placeholder, ref), list(found.outputs))
    inputs, outputs = ends_of(joined, found.outputs)
    check_labels(labels, _classes(outputs))
    recipe = _recipe({}, model, ref, inputs)
    return Grafted(joined, inputs, outputs, (str(ref), str(found.placeholder)), tuple(labels), recipe)


def _classes(outputs: Sequence[TensorSpec]) -> int | None:
    shape = outputs[-1].shape if outputs else None
    return shape[-1] if shape else None


def graft_file(
    path: PathLike,
    output: PathLike,
    *,
    bottleneck: str,
    head: PathLike | None = None,
    head_scope: str | None = None,
    labels: PathLike | None = None,
    name: str = "head",
    keep: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> Grafted:
    """Graft and write the graph; beside it its labels, and how photos are to be prepared where that is known.

    Raises:
        OutputExistsError: an output exists and `force` is not set; nothing is written then.
    """
    if not dry_run:
        _atomic.ensure_absent(output, force=force)
    if Path(output).suffix in {".onnx", ".h5", ".keras"}:
        raise WrongKindError(
            f"graft writes a GraphDef, not {Path(output).suffix}", hint="tfinspect export GRAPH --onnx"
        )
    names = read_labels(labels) if labels is not None else ()
    done = graft_model(path, head, bottleneck=bottleneck, name=name, keep=keep, head_scope=head_scope, labels=names)
    if not dry_run:
        companions.check(output, done.labels, done.recipe, force=force)
        formats.write_graph(done.graph, output, force=force)
        companions.write(output, done.labels, done.recipe, force=force)
    return done
