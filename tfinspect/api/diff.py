"""`diff`: what two models have in common and where they differ, name by name."""

from __future__ import annotations

import fnmatch
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tfinspect import formats
from tfinspect.api.compare_weights import WeightsDifference, compare_weights, weights_of
from tfinspect.errors import InputError, UsageError, WrongKindError
from tfinspect.ir.checkpoint import Checkpoint
from tfinspect.ir.graph import Graph, Versions
from tfinspect.ir.model import Model
from tfinspect.surgery.compare_graphs import (
    Change,
    PartsDifference,
    compare_functions,
    compare_parts,
    compare_signatures,
    layer_parts,
    operator_parts,
)
from tfinspect.surgery.pair_names import Pairing, pair_names, pair_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tfinspect.errors import TfinspectError
    from tfinspect.ir.tensors import Tensor

__all__ = ["Change", "Difference", "PartsDifference", "diff"]

PathLike = str | os.PathLike[str]
STRUCTURES = ("nodes", "operators", "layers", "functions", "signatures")


@dataclass(slots=True)
class Difference:
    """How two models differ; a part that was not compared is None.

    Attributes:
        a: path of the first model.
        b: path of the second.
        format_a: format of the first, a row of `formats.FORMATS`.
        format_b: of the second.
        nodes: of TensorFlow graphs.
        operators: of ONNX and TensorFlow Lite models.
        layers: of Keras and Deeplearning4j models.
        functions: of the graphs' libraries.
        signatures: by name.
        weights: variables, and constants of graphs.
        versions: producer, versions and what else the files say of themselves, where it differs.
        only: (part, side) of each part that one model has and the other lacks.
        problems: (side, error) of each part of a model that could not be read at all.
        scope: prefix of the nodes that was taken for another one: (in the first, in the second).
        same_file: whether both are one file, whose values were not read then.
        tolerances: rtol and atol.
        match: the pattern that names had to match.
        summary: the verdict in words.
        notes: what is worth knowing and no difference.
    """

    a: str
    b: str
    format_a: str = ""
    format_b: str = ""
    nodes: PartsDifference | None = None
    operators: PartsDifference | None = None
    layers: PartsDifference | None = None
    functions: PartsDifference | None = None
    signatures: PartsDifference | None = None
    weights: WeightsDifference | None = None
    versions: tuple[Change, ...] = ()
    only: tuple[tuple[str, str], ...] = ()
    problems: tuple[tuple[str, TfinspectError], ...] = ()
    scope: tuple[str, str] | None = None
    same_file: bool = False
    tolerances: tuple[float, float] = (0.0, 0.0)
    match: str | None = None
    summary: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def structures(self) -> dict[str, PartsDifference]:
        """What was compared beside weights, by its name."""
        found = {name: getattr(self, name) for name in STRUCTURES}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def differs(self) -> bool:
        """Whether a difference was found; values within the tolerances are none."""
        weights = self.weights is not None and (self.weights.differs or self.weights.scope is not None)
        structure = any(part.differs for part in self.structures.values())
        return bool(structure or weights or self.versions or self.only or self.scope)

    @property
    def complete(self) -> bool:
        """Whether everything could be read."""
        return not self.problems and not (self.weights is not None and self.weights.unreadable)

    @property
    def identical(self) -> bool:
        """Whether everything was read and no difference was found."""
        return self.complete and not self.differs


def diff(
    a: PathLike | Model | Graph | Checkpoint,
    b: PathLike | Model | Graph | Checkpoint,
    *,
    match: str | None = None,
    rtol: float = 0.0,
    atol: float = 0.0,
    graph: bool = True,
    weights: bool = True,
) -> Difference:
    """Compare two models: graphs, functions, signatures, operators, layers and weights, as far as both have them.

    Values are the same where their bits are, so a NaN equals itself and -0 is not 0.

    Args:
        a: the first model: a path to any format that `open` reads, or what was read from one.
        b: the second.
        match: only names that match this glob; `*` also matches `/`.
        rtol: relative tolerance; values within `atol + rtol * max(|a|, |b|)` count as equal.
        atol: absolute tolerance.
        graph: whether to compare everything but weights.
        weights: whether to compare weights.

    Raises:
        InputError: one of them cannot be read.
        WrongKindError: they share nothing that can be compared.
        InvalidGraphError: two nodes of one graph have the same name.
        UsageError: no name matches, or a tolerance is negative.
    """
    from tfinspect.api.diff_words import summary

    if not (rtol >= 0 and atol >= 0):
        raise UsageError("a tolerance is a number that is not negative")
    if not (graph or weights):
        raise UsageError("nothing is left to compare without graph and weights")
    model_a, model_b = _opened(a), _opened(b)
    found = Difference(model_a.path, model_b.path, model_a.format, model_b.format, tolerances=(rtol, atol), match=match)
    found.same_file = _same_file(a, b)
    found.problems = tuple((side, error) for side, m in (("a", model_a), ("b", model_b)) for error in m.problems)
    if found.same_file and match is None and not found.problems:
        found.summary = summary(found)
        found.notes.append("both are one file; its values were not read")
        return found
    keep = _keep(match)
    # beside variables, the constants of a graph are a matter of the graph
    variables_only = not graph and model_a.checkpoint is not None and model_b.checkpoint is not None
    pairing = Pairing({})
    if model_a.graph is not None and model_b.graph is not None and not variables_only:
        pairing = pair_nodes(model_a.graph, model_b.graph, _digest)
        found.scope = None if pairing.scope is None else (pairing.scope.a, pairing.scope.b)
    if graph:
        _compare_structure(found, model_a, model_b, pairing, keep)
    if weights:
        mine, theirs = (weights_of(m, constants=not variables_only) for m in (model_a, model_b))
        if mine and theirs:
            found.weights = compare_weights(
                mine, theirs, pairing.names, pairing.renamed, keep=keep, rtol=rtol, atol=atol
            )
        elif mine or theirs:
            found.only += (("weights", "a" if mine else "b"),)
    _check_compared(found, graph=graph)
    found.notes += _notes(found)
    found.summary = summary(found)
    return found


def _digest(tensor: Tensor) -> bytes:
    """Hash a constant; one that cannot be read is like no other, and reported where values are compared."""
    from tfinspect.verify.tensor_difference import digest

    try:
        return digest(tensor)
    except InputError as error:
        return f"{id(tensor)} {error.message}".encode()


def _keep(match: str | None) -> Callable[[str], bool]:
    return (lambda _: True) if match is None else lambda name: fnmatch.fnmatchcase(name, match)


def _opened(source: PathLike | Model | Graph | Checkpoint) -> Model:
    if isinstance(source, Model):
        return source
    if isinstance(source, Graph):
        return Model(source.source.path if source.source else "", "graphdef", graph=source)
    if isinstance(source, Checkpoint):
        return Model(source.path, source.format, checkpoint=source)
    return formats.open_model(source)


def _same_file(a: object, b: object) -> bool:
    if a is b:
        return True
    if not (isinstance(a, (str, os.PathLike)) and isinstance(b, (str, os.PathLike))):
        return False
    path_a, path_b = os.path.realpath(a), os.path.realpath(b)
    return path_a == path_b or (os.path.exists(path_a) and os.path.exists(path_b) and os.path.samefile(path_a, path_b))  # noqa: PTH110, PTH121 - both may be prefixes


def _compare_structure(found: Difference, a: Model, b: Model, pairing: Pairing, keep: Callable[[str], bool]) -> None:
    if a.graph is not None and b.graph is not None:
        from tfinspect.surgery.compare_graphs import pair_functions

        functions = {other: name for name, other in pair_functions(a.graph.functions, b.graph.functions).items()}
        found.nodes = compare_parts(a.graph.by_name, b.graph.by_name, pairing, functions=functions, keep=keep)
        if a.graph.functions or b.graph.functions:
            found.functions = compare_functions(a.graph.functions, b.graph.functions, keep)
    elif a.graph is not None or b.graph is not None:
        found.only += (("graph", "a" if b.graph is None else "b"),)
    for name, mine, theirs in (
        ("operators", operator_parts(a.operators), operator_parts(b.operators)),
        ("layers", layer_parts(a.layers), layer_parts(b.layers)),
    ):
        if mine and theirs:
            setattr(found, name, compare_parts(mine, theirs, pair_names(mine, theirs), keep=keep))
        elif mine or theirs:
            found.only += ((name, "a" if mine else "b"),)
    if a.signatures or b.signatures:
        back = {other: name for name, other in pairing.names.items()}
        found.signatures = compare_signatures(a.signatures, b.signatures, back, keep)
    if found.match is None:
        found.versions = tuple(_versions(a, b))


def _versions(a: Model, b: Model) -> Iterator[Change]:
    """Say what differs in what the files tell of themselves."""
    if a.graph is not None and b.graph is not None:
        yield from _graph_headers(a, b, a.graph.versions, b.graph.versions)
    if a.tensorflow_version and b.tensorflow_version and a.tensorflow_version != b.tensorflow_version:
        yield Change("versions", "tensorflow_version", a.tensorflow_version, b.tensorflow_version)
    if a.tags and b.tags and a.tags != b.tags:
        yield Change("versions", "tags", a.tags, b.tags)
    if a.format != b.format:  # facts of one format say nothing of another
        return
    for word, p, q in (("facts", a.facts, b.facts), ("training", a.training, b.training)):
        for key in dict.fromkeys([*p, *q]):
            if p.get(key) != q.get(key) and repr(p.get(key)) != repr(q.get(key)):
                yield Change(word, key, p.get(key), q.get(key))
    if set(a.assets) != set(b.assets):
        yield Change("assets", "names", tuple(sorted(a.assets)), tuple(sorted(b.assets)))


def _graph_headers(a: Model, b: Model, mine: Versions, theirs: Versions) -> Iterator[Change]:
    for word in Versions.__dataclass_fields__:
        if getattr(mine, word) != getattr(theirs, word):
            yield Change("versions", word, getattr(mine, word), getattr(theirs, word))
    for key in dict.fromkeys([*a.collections, *b.collections]):
        if a.collections.get(key) != b.collections.get(key):
            yield Change("collections", key, a.collections.get(key), b.collections.get(key))
    if a.saver != b.saver:
        yield Change("saver", "names", _saver_names(a), _saver_names(b))


def _saver_names(model: Model) -> tuple[str, ...] | None:
    saver = model.saver
    return None if saver is None else (saver.restore_op, saver.filename_tensor, saver.save_tensor)


def _check_compared(found: Difference, *, graph: bool) -> None:
    shared: list[PartsDifference | WeightsDifference] = [*found.structures.values()]
    if found.weights is not None:
        shared.append(found.weights)
    if not shared:
        titles = [formats.BY_NAME[name].a_title for name in (found.format_a, found.format_b)]
        limits = "" if graph else " as weights"
        raise WrongKindError(
            f"{found.a} is {titles[0]}, {found.b} {titles[1]}: they share nothing that could be compared{limits}",
            details=[
                f"only {(found.a if side == 'a' else found.b) or side.upper()} has {_a(part)}"
                for part, side in found.only
            ],
            evidence={"a": found.format_a, "b": found.format_b},
        )
    if found.match is not None and not any(part.count_a or part.count_b for part in shared):
        raise UsageError(f"no name in {found.a} or {found.b} matches `{found.match}`", evidence={"match": found.match})


def _a(part: str) -> str:
    return "a graph" if part == "graph" else part


def _notes(found: Difference) -> Iterator[str]:
    if any(part.reordered for part in found.structures.values()):
        yield "they come in another order in the file, which is no difference"
    for part, side in found.only:
        yield f"only {(found.a if side == 'a' else found.b) or side.upper()} has {_a(part)}"
    rtol, atol = found.tolerances
    if found.weights is not None and found.weights.within:
        count = found.weights.within
        words = "1 tensor differs" if count == 1 else f"{count:,} tensors differ"
        yield f"{words} by no more than rtol {rtol:g}, atol {atol:g}, and counts as equal".replace(
            "and counts", "and counts" if count == 1 else "and count"
        )
