"""From a model as found to a graph that computes: outputs chosen, variables folded in, flags set."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tfinspect.api import keras, rebuild
from tfinspect.api.at_load import at_load, is_whole, no_values
from tfinspect.api.listing import given_shapes
from tfinspect.api.load import open_graph
from tfinspect.api.locate import DEFAULT_SIGNATURE, INIT, opened, signature_of, tensor_of
from tfinspect.errors import AmbiguousOutputsError, UsageError
from tfinspect.ir.refs import TensorRef, parse_shaped
from tfinspect.ir.shapes import Shape, compatible, format_shape
from tfinspect.ir.signature import TensorSpec
from tfinspect.surgery.demands import holds_images, holds_lengths, holds_pixels, implied_shape, vocabulary
from tfinspect.surgery.endpoints import find_inputs, find_outputs
from tfinspect.surgery.fold_switches import fold_switches
from tfinspect.surgery.fold_variables import fold_variables
from tfinspect.surgery.images import pixels
from tfinspect.surgery.ops import DECODERS, VARIABLES
from tfinspect.surgery.phase import phase_flags
from tfinspect.surgery.prune import needed, placeholder_refs, prune, replace_with_placeholders
from tfinspect.surgery.set_values import defaults_to_values, parse_setting, set_values
from tfinspect.surgery.shapes import TensorTypes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tfinspect.api.load import PathLike
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.surgery.endpoints import Endpoint


@dataclass(frozen=True, slots=True)
class Setting:
    """A placeholder that was fixed to a value, and why."""

    ref: TensorRef
    value: Any
    why: str

    def __str__(self) -> str:
        """Return `is_training:0 = False (drives a Switch)`."""
        return f"{self.ref} = {self.value} ({self.why})"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A graph ready to be cut, grafted or exported.

    Attributes:
        model: as it was found.
        graph: variables folded in, settings applied, pruned to `outputs`; every input is a Placeholder.
        inputs: what it takes.
        outputs: what it gives.
        settings: placeholders that were fixed; the reference is fed the same values.
        kinds: the kind of each input, as `surgery.endpoints` calls it, "pixels" (an image as its decoder gives it),
            "intensities" (floats that hold pixel values) or "lengths" (of sequences).
        vocabularies: how many values an input may take, of those that are indices into a table.
        held: where it is another, the tensor of `graph` that stands for an input of the model (a queue's second output
            cannot keep its name).
        notes: what was concluded about the inputs, in words.
    """

    model: Model
    graph: Graph
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    settings: tuple[Setting, ...]
    kinds: Mapping[TensorRef, str]
    held: Mapping[TensorRef, TensorRef]
    notes: tuple[str, ...] = ()
    vocabularies: Mapping[TensorRef, int] = field(default_factory=dict)


def choose_outputs(model: Model, named: Sequence[str]) -> list[TensorRef]:
    """Return the outputs that were named, else those of the signature, else the graph's own where they are clear.

    Raises:
        NodeNotFoundError: a named output is not in the graph.
        AmbiguousOutputsError: none was named, and several or none are possible.
    """
    graph = model_graph(model)
    if named:
        refs = [tensor_of(model, name) for name in named]
        for ref in refs:
            graph.node(ref.name)
        return list(dict.fromkeys(refs))
    signature = signature_of(model)
    if signature is not None:
        return list(dict.fromkeys(spec.ref for spec in signature.outputs))
    found = find_outputs(graph, TensorTypes(graph))
    if found and found.certain:
        return [end.ref for end in found]
    if model.signatures.keys() - {INIT}:
        raise _several_signatures(model)
    if not found:
        raise AmbiguousOutputsError(
            f"no tensor of {model.path or 'the graph'} looks like an output",
            hint="name one with --outputs; list the nodes: tfinspect nodes GRAPH",
        )
    raise AmbiguousOutputsError(
        f"{model.path or 'the graph'} has {len(found)} tensors that could be its outputs",
        details=[f"{end.ref}  {end.dtype} {format_shape(end.shape)}  {end.note}" for end in found[:12]],
        hint=f"choose: --outputs {found[0].ref}",
        evidence={"candidates": [str(end.ref) for end in found]},
    )


def _several_signatures(model: Model) -> AmbiguousOutputsError:
    """Return the complaint that a model has several signatures, none of them the default, and what each gives."""
    specs = [(name, spec) for name, signature in model.signatures.items() for spec in signature.outputs if name != INIT]
    return AmbiguousOutputsError(
        f"{model.path} has {len(model.signatures.keys() - {INIT})} signatures, and none is called {DEFAULT_SIGNATURE}",
        details=[
            f"{spec.ref}  {spec.dtype} {format_shape(spec.shape)}  `{spec.key}` of {name}" for name, spec in specs[:12]
        ],
        hint=f"choose: --outputs {specs[0][1].ref}" if specs else "name what is wanted with --outputs",
        evidence={"candidates": [str(spec.ref) for _, spec in specs]},
    )


def model_graph(model: Model) -> Graph:
    """Return the graph of a model that `open_graph` opened."""
    if model.graph is None:
        raise UsageError(f"{model.path} holds no graph")
    return model.graph


def fold(model: Model, outputs: Sequence[TensorRef], starts: Sequence[TensorRef] = ()) -> Graph:
    """Return the graph with the checkpoint's values as constants, where the model has a checkpoint.

    Args:
        model: as `open_graph` gives it.
        outputs: only variables that these need.
        starts: nothing behind these is needed.

    Raises:
        UsageError: the outputs need variables and there is no checkpoint.
        UnrestoredVariablesError: the checkpoint lacks what they need.
    """
    graph = model_graph(model)
    values = no_values(model) if model.checkpoint is None and is_whole(model) else model.checkpoint
    if values is not None:
        folded, _ = fold_variables(graph, values, outputs, saver=model.saver, feeds=starts, load=at_load(model))
        return folded
    names = needed(graph, outputs, starts)
    variables = [node.name for node in graph.nodes if node.name in names and node.op in VARIABLES]
    if variables:
        raise UsageError(
            f"{model.path or 'the graph'} has {len(variables):,} variables and no checkpoint beside it",
            details=variables[:5] + ([f"and {len(variables) - 5:,} more"] if len(variables) > 5 else []),  # noqa: PLR2004
            hint=f"tfinspect freeze CKPT --graph {model.path or 'GRAPH'} -o frozen.pb",
            evidence={"variables": variables},
        )
    return graph


def prepare(
    path: PathLike | Graph | Model,
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    settings: Sequence[str] = (),
    at_pixels: bool = False,
) -> Prepared:
    """Open a model and make its graph compute from placeholders to outputs.

    Args:
        path: anything `open_graph` opens, or what it returned.
        inputs: tensors to start at, optionally with shapes: `X:0[1,28,28,1]`; none: those the graph has.
        outputs: tensors to end at, or keys of a signature; none: those the graph has, where they are clear.
        settings: `NAME=VALUE`, placeholders to fix; flags of the training phase default to inference.
        at_pixels: unless `inputs` says otherwise, start behind the decoder of an image, at the uint8 pixels.

    Raises:
        InputError: the model cannot be read.
        UsageError: a name is not there, or outputs must be chosen.
        UnrestoredVariablesError: the checkpoint lacks what the graph needs.
    """
    model = opened(open_graph(path), [*outputs, *(str(parse_shaped(text)[0]) for text in inputs)])
    ends = choose_outputs(model, outputs)
    starts = [parse_shaped(text)[0] for text in inputs]
    whole = TensorTypes(model_graph(model), given_shapes(model_graph(model), inputs))
    # asked of the whole graph: what is fed hides what stands behind it
    given = {ref: known for ref in starts if (known := whole.type_of(ref).shape) is not None}
    graph = prune(fold(model, ends, starts), ends, starts)
    graph, fixed = _fix(graph, starts, settings, model_graph(model), given)
    graph = prune(fold_switches(graph), ends, starts)
    types = TensorTypes(graph, given)
    kinds: dict[TensorRef, str] = {end.ref: end.kind for end in find_inputs(graph, types, ends)}
    if not starts:
        decoded = pixels(graph, types) if at_pixels else None
        if decoded is not None and decoded.contents in kinds:
            kinds = {decoded.ref if ref == decoded.contents else ref: kind for ref, kind in kinds.items()}
            kinds[decoded.ref] = "pixels"
        starts = list(kinds)
    implied = {
        ref: shape
        for ref in starts
        if ref not in given
        and types.type_of(ref).shape is None
        and (shape := implied_shape(graph, ref, types)) is not None
    }
    specs = _input_specs(graph, types, starts, {**given, **implied})
    kinds.update((ref, "bytes") for ref in starts if holds_images(graph, ref))
    kinds.update((ref, "lengths") for ref in starts if holds_lengths(graph, ref))
    kinds.update((ref, "intensities") for ref in starts if holds_pixels(model_graph(model), ref, whole))
    kinds.update((ref, "pixels") for ref in starts if model_graph(model).node(ref.name).op in DECODERS)
    feeds = {s.ref: (s.dtype, s.shape) for s in specs if s.dtype is not None}
    held = placeholder_refs(graph, feeds)
    graph = prune(replace_with_placeholders(graph, feeds), ends)
    types = TensorTypes(graph)
    keys = _signature_keys(model)
    return Prepared(
        model,
        graph,
        tuple(replace(spec, key=keys.get(spec.ref)) for spec in specs if held[spec.ref].name in graph),
        tuple(TensorSpec(r, types.type_of(r).dtype, types.type_of(r).shape, keys.get(r)) for r in ends),
        tuple(fixed),
        kinds,
        held,
        (
            *keras.changes(model),
            *rebuild.changes(model),
            *(f"the graph leaves the shape of {r} open; taken as {format_shape(s)}" for r, s in implied.items()),
        ),
        {ref: size for ref in starts if (size := vocabulary(graph, held[ref], types)) is not None},
    )


def _fix(
    graph: Graph,
    starts: Sequence[TensorRef],
    settings: Sequence[str],
    whole: Graph,
    given: Mapping[TensorRef, Shape],
) -> tuple[Graph, list[Setting]]:
    fixed: list[Setting] = []
    for text in settings:
        ref, value = parse_setting(text, whole)
        if ref in starts:
            raise UsageError(f"`{ref}` is given both as an input and as a setting")
        if ref.name in graph:
            fixed.append(Setting(ref, value, "--set"))
    named = {s.ref for s in fixed}
    fixed += [
        Setting(flag.ref, flag.value, flag.why)
        for flag in phase_flags(graph, TensorTypes(graph, given))
        if flag.ref not in named and flag.ref not in starts
    ]
    graph = set_values(graph, {s.ref: s.value for s in fixed})
    return defaults_to_values(graph, keep=starts), fixed


def _input_specs(
    graph: Graph, types: TensorTypes, starts: Sequence[TensorRef], given: Mapping[TensorRef, Shape]
) -> list[TensorSpec]:
    specs = []
    plain = TensorTypes(graph)
    for ref in starts:
        if ref.name not in graph:
            raise UsageError(f"the outputs do not depend on the input `{ref}`", hint="leave it out of --inputs")
        kind = types.type_of(ref)
        shape = given.get(ref, kind.shape)
        known = plain.type_of(ref).shape
        if not compatible(shape, known):
            raise UsageError(
                f"`{ref}` has the shape {format_shape(known)}, which {format_shape(shape)} does not fit",
                evidence={"name": str(ref)},
            )
        if kind.dtype is None:
            raise UsageError(f"the type of `{ref}` cannot be told, so it cannot become an input")
        specs.append(TensorSpec(ref, kind.dtype, shape))
    return specs


def _signature_keys(model: Model) -> dict[TensorRef, str | None]:
    signature = signature_of(model)
    return {} if signature is None else {spec.ref: spec.key for spec in (*signature.inputs, *signature.outputs)}


def inputs_of(graph: Graph, types: TensorTypes) -> list[Endpoint]:
    """Return the data inputs of a graph: phase flags left out."""
    return [end for end in find_inputs(graph, types) if end.kind != "phase"]
