"""Fine-tuning: a trunk and its head trained together on photos, and frozen back to a graph."""

from __future__ import annotations

import hashlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tfinspect import formats, runtimes
from tfinspect.api import proof
from tfinspect.api.finetune_checkpoints import Checkpoints
from tfinspect.api.finetune_photos import Album, check_classes, gather
from tfinspect.api.finetune_task import chosen_layers, task_of
from tfinspect.api.graft import Grafted, graft_model, read_head
from tfinspect.api.labels import labels_path, read_labels
from tfinspect.api.recipe import format_recipe, recipe_path
from tfinspect.api.train_head import train_head
from tfinspect.api.trunk_parameters import Layers, OpenTrunk, open_trainable
from tfinspect.errors import IncompatibleGraftError, RuntimeFailedError, UsageError, WrongKindError
from tfinspect.formats import _atomic
from tfinspect.ir.features import SPLITS, Features
from tfinspect.ir.head import DenseHead, DenseLayer
from tfinspect.ir.tensors import Tensor
from tfinspect.ir.trainer import head_name
from tfinspect.learn import dense
from tfinspect.learn.finetune import Epoch, Settings, logits_of, run
from tfinspect.learn.images import image_folder
from tfinspect.learn.metrics import evaluate
from tfinspect.learn.regime import regime
from tfinspect.learn.split import splits
from tfinspect.surgery.trainable import with_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    import numpy.typing as npt

    from tfinspect.api.load import PathLike
    from tfinspect.ir.features import Split
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.model import Model
    from tfinspect.ir.signature import TensorSpec
    from tfinspect.ir.trainer import Task, Trainer
    from tfinspect.learn.preprocess import Recipe
    from tfinspect.learn.regime import Regime

    Array = npt.NDArray[Any]

__all__ = ["Epoch", "Listeners", "Settings", "Tuned", "finetune"]

_CHECKED: Final = 64  # photos on which the written graph must give what training measured
_TOLERANCE: Final = 1e-3  # of a probability; the same kernels computed both, in batches of another size


@dataclass(frozen=True, slots=True)
class Tuned:
    """A fine-tuned model.

    Attributes:
        output: where the graph was written.
        graph: the graph.
        inputs: what it takes.
        outputs: what it gives: logits and softmax.
        classes: names of the classes, in the order of the outputs.
        recipe: what is done to pixels before they enter.
        metrics: by part: train, validation, test.
        before: the same with the trunk as it was and the head the training started from.
        regime: which regime the data is in; None where a head was given and nothing was measured.
        variables: names of the constants of the trunk that were trained.
        epochs: what each epoch came to.
        best_epoch: the one whose variables were kept, or the last of those that were averaged; 0: the start was kept.
        difference: largest difference of a probability between the written graph and what training measured.
        skipped: photos that could not be read, and why.
        runtime: what computed the gradients.
        notes: what was concluded or assumed.
    """

    output: str
    graph: Graph
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    classes: tuple[str, ...]
    recipe: Recipe
    metrics: Mapping[str, Mapping[str, Any]]
    before: Mapping[str, Mapping[str, Any]]
    regime: Regime
    variables: tuple[str, ...]
    epochs: tuple[Epoch, ...]
    best_epoch: int
    difference: float
    skipped: tuple[tuple[str, str], ...]
    runtime: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listeners:
    """Whom to tell what happens meanwhile.

    Attributes:
        phase: called with what is being done; gives a context manager.
        step: called often, with a few words.
        note: called with what a person should know.
        epoch: called after each epoch.
    """

    phase: Callable[[str], AbstractContextManager[None]] = proof.silent
    step: Callable[[str], None] = field(default=lambda _: None)
    note: Callable[[str], None] = field(default=lambda _: None)
    epoch: Callable[[Epoch], None] = field(default=lambda _: None)


def finetune(
    graph: PathLike | Graph | Model,
    folder: PathLike,
    output: PathLike,
    *,
    bottleneck: str,
    head: PathLike | None = None,
    layers: Layers | None = None,
    settings: Settings | None = None,
    checkpoints: PathLike | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    split_seed: str = "",
    split: Callable[[str], Split] | None = None,
    inputs: Sequence[str] = (),
    size: tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    scale: Sequence[float] | None = None,
    bgr: bool | None = None,
    model_settings: Sequence[str] = (),
    labels: PathLike | None = None,
    name: str = "head",
    force: bool = False,
    listeners: Listeners | None = None,
) -> Tuned:
    """Train a trunk and a head on photos, and write both as one frozen graph.

    The graph is the trunk as it was with other values in the constants that were trained, and the head under `name/`.
    Labels and preprocessing are written beside it. A training that was killed goes on where its last epoch ended.

    Args:
        graph: the trunk.
        folder: photos, one sub-folder a class.
        output: the `.pb` to write.
        bottleneck: tensor of the trunk that the head takes.
        head: `.npz` to start from; None: one is trained on the trunk's features first.
        layers: which are trained; None: those that `LEAST_FACTOR` leaves.
        settings: how.
        checkpoints: folder for what a killed training goes on from; None: a hidden one that is removed at the end.
        validation: share of photos that training is watched on.
        test: share of photos that the result is judged on.
        split_seed: another text gives another split.
        split: says of a photo's name which part it belongs to, instead of the three above.
        inputs: the tensor that takes images, optionally with its shape; the written graph starts there.
        size: (height, width) of images.
        mean: what is subtracted from each pixel.
        scale: what the difference is multiplied by.
        bgr: whether blue comes first.
        model_settings: `NAME=VALUE`, placeholders of the trunk to fix.
        labels: file of the classes' names in the order of the outputs; each must be a sub-folder.
        name: scope of the head.
        force: replace what is there.
        listeners: whom to tell.

    Raises:
        OutputExistsError: an output exists and `force` is not set.
        RuntimeUnavailableError: TensorFlow or the image libraries are not installed.
        RuntimeFailedError: TensorFlow refused, or the written graph computes something else than was trained.
        IncompatibleGraftError: head, bottleneck and classes do not fit.
        UsageError: options that do not go together, names that are not there, photos that nothing can be learned from.
        InputError: the graph cannot be read, or the checkpoint is of another training.
    """
    settings, layers, tell = settings or Settings(), layers or Layers(), listeners or Listeners()
    settings.check()
    layers.check()
    target = _free(output, force=force)
    photos = image_folder(folder)
    wanted = read_labels(labels) if labels is not None else ()
    by_hash = splits([file.name for file in photos.files], validation=validation, test=test, salt=split_seed)
    parts = by_hash if split is None else tuple(split(file.name) for file in photos.files)
    trained = {photos.classes[f.label] for f, part in zip(photos.files, parts, strict=True) if part == "train"}
    check_classes(photos, trained, photos.classes)
    with tell.phase("reading the graph"):
        trunk = open_trainable(
            graph, bottleneck, inputs=inputs, size=size, mean=mean, scale=scale, bgr=bgr, settings=model_settings
        )
        chosen = chosen_layers(layers, trunk, settings, tell.note)
    start = _start_head(head, trunk)
    classes = _class_order(photos.classes, wanted or (() if start is None else start.labels), start)
    shapes = [(layer.units, layer.activation) for layer in start.layers] if start is not None else [(len(classes), "")]
    graft_model(trunk.model, start or _blank(trunk.width, len(classes)), bottleneck=bottleneck, name=name)
    with tempfile.TemporaryDirectory(prefix="tfinspect-") as scratch:
        file = Path(scratch, "trunk.pb")
        formats.write_graph(trunk.graph, file)
        task = task_of(trunk, chosen, settings, shapes, file)
        for note in trunk.notes:
            tell.note(note)
        with tell.phase("starting TensorFlow"):
            trainer = runtimes.trainer(task, str(folder)).__enter__()
        try:
            album = gather(
                photos, classes, trunk.entry, trainer.features, settings, parts=parts, listeners=tell
            )  # fmt: skip
            found = regime(album.features, where=str(folder), seed=settings.seed)
            tell.note(f"{found.name}: {found.why}; {found.advice}")
            if start is None:
                with tell.phase("training a head on the features"):
                    start = train_head(album.features, where=str(folder)).head
            kept = Checkpoints.of(
                checkpoints, target, force=force, made=_made(file, task, album, classes, settings, start)
            )
            before = _metrics(_outputs(start, album.features), album.features)
            trainer.restore(_head_values(start))
            progress = kept.read()
            if progress is not None:
                tell.note(f"going on after epoch {len(progress.epochs)} of {settings.epochs} ({kept.folder})")
            done = run(
                trainer, album.train, album.validation, len(classes), settings,
                progress=progress, save=kept.write, tell=tell.epoch, step=tell.step,
            )  # fmt: skip
            with tell.phase("measuring"):
                measured = _measured(trainer, album, settings)
            runtime = trainer.runtime
        finally:
            trainer.__exit__(None, None, None)
        grafted, difference = _frozen(
            trunk, start, done.best, album, measured, name=name, scratch=Path(scratch), tell=tell
        )
    formats.write_graph(grafted.graph, target, force=force)
    _atomic.write_file(labels_path(target), ["\n".join([*classes, ""]).encode()], force=force)
    _atomic.write_file(recipe_path(target), [format_recipe(trunk.entry.recipe).encode()], force=force)
    kept.remove()
    return Tuned(
        str(output), grafted.graph, grafted.inputs, grafted.outputs, classes, trunk.entry.recipe,
        _metrics({part: dense.softmax(values) for part, values in measured.items()}, album.features), before, found,
        tuple(chosen), tuple(done.epochs), done.best_epoch, difference, album.skipped, runtime, trunk.notes,
    )  # fmt: skip


def _frozen(
    trunk: OpenTrunk,
    start: DenseHead,
    best: Mapping[str, Array],
    album: Album,
    measured: Mapping[str, Array],
    *,
    name: str,
    scratch: Path,
    tell: Listeners,
) -> tuple[Grafted, float]:
    """Put what was learned into the graph, and hold it against what training measured."""
    values = {key: value for key, value in best.items() if not key.startswith(":")}
    ended = _ended(start, best, album.features.classes)
    model = replace(trunk.model, graph=with_values(_graph(trunk.model), values))
    grafted = graft_model(model, ended, bottleneck=str(trunk.bottleneck), name=name)
    with tell.phase("checking the written graph"):
        written = scratch / "tuned.pb"
        formats.write_graph(grafted.graph, written)
        return grafted, _check(written, trunk, album, measured, str(grafted.outputs[-1].ref))


def _free(output: PathLike, *, force: bool) -> Path:
    target = Path(output)
    if target.suffix in {".onnx", ".h5", ".keras", ".npz"}:
        raise WrongKindError(
            f"finetune writes a GraphDef, not {target.suffix}", hint="-o OUT.pb, then: tfinspect export OUT.pb --onnx"
        )
    for place in (target, labels_path(target), recipe_path(target)):
        _atomic.ensure_absent(place, force=force)
    return target


def _graph(model: Model) -> Graph:
    assert model.graph is not None  # noqa: S101 - `open_trainable` folded it
    return model.graph


def _start_head(path: PathLike | None, trunk: OpenTrunk) -> DenseHead | None:
    if path is None:
        return None
    head = read_head(path)
    if not isinstance(head, DenseHead):
        raise WrongKindError(
            f"{path} is no head of fully connected layers", hint="tfinspect train-head F.npz -o HEAD.npz"
        )
    if head.features != trunk.width:
        raise IncompatibleGraftError(
            f"cannot start from {path}: `{trunk.bottleneck}` gives {trunk.width} features, the head takes "
            f"{head.features}",
            hint="tfinspect info HEAD",
            evidence={"trunk": trunk.width, "head": head.features},
        )
    if head.layers[-1].activation != "softmax":
        raise UsageError(
            f"{path} ends in `{head.layers[-1].activation}`; photos in one folder a class are told apart by a softmax",
            hint="tfinspect train-head F.npz -o HEAD.npz",
        )
    return head


def _class_order(folders: Sequence[str], wanted: Sequence[str], head: DenseHead | None) -> tuple[str, ...]:
    """Return the classes in the order of the outputs.

    Raises:
        UsageError: folders, labels and head do not name the same classes.
    """
    if head is not None and head.classes != len(folders):
        raise IncompatibleGraftError(
            f"the head has {head.classes} classes, the photos {len(folders)}", evidence={"classes": list(folders)}
        )
    if not wanted:
        return tuple(folders)
    missing = [label for label in wanted if label not in folders]
    extra = [folder for folder in folders if folder not in wanted]
    if missing or extra or len(set(wanted)) != len(wanted):
        what = f"no photos of `{missing[0]}`" if missing else f"no label for the folder `{(extra or folders)[0]}`"
        raise UsageError(
            f"labels and folders do not fit: there are {what}" if missing else f"labels and folders do not fit: {what}",
            details=[f"labels: {', '.join(wanted)}", f"folders: {', '.join(folders)}"],
            evidence={"missing": missing, "extra": extra},
        )
    return tuple(wanted)


def _blank(width: int, classes: int) -> DenseHead:
    import numpy as np

    weights, biases = np.zeros((width, classes), np.float32), np.zeros(classes, np.float32)
    return DenseHead((DenseLayer(Tensor.of(weights), Tensor.of(biases), "softmax"),))


def _head_values(head: DenseHead) -> dict[str, Array]:
    import numpy as np

    values = {}
    for number, layer in enumerate(head.layers):
        biases = np.zeros(layer.units) if layer.biases is None else layer.biases.numpy()
        values[head_name(number, "weights")] = layer.weights.numpy().astype(np.float32)
        values[head_name(number, "biases")] = biases.astype(np.float32)
    return values


def _ended(head: DenseHead, values: Mapping[str, Array], classes: tuple[str, ...]) -> DenseHead:
    made = [
        DenseLayer(
            Tensor.of(values[head_name(number, "weights")]), Tensor.of(values[head_name(number, "biases")]),
            layer.activation,
        )
        for number, layer in enumerate(head.layers)
    ]  # fmt: skip
    return DenseHead(tuple(made), classes)


def _outputs(head: DenseHead, features: Features) -> dict[str, Array]:
    values = _head_values(head)
    made = [
        dense.Layer(values[head_name(i, "weights")], values[head_name(i, "biases")], layer.activation)
        for i, layer in enumerate(head.layers)
    ]
    return {part: dense.forward(made, features.features[features.part(part)]) for part in SPLITS}


def _metrics(outputs: Mapping[str, Array], features: Features) -> dict[str, dict[str, Any]]:
    return {
        part: evaluate("softmax", outputs[part], features.labels[features.part(part)], features.classes)
        for part in SPLITS
    }


def _measured(trainer: Trainer, album: Album, settings: Settings) -> dict[str, Array]:
    """Return the logits of every photo as it is, by part."""
    import numpy as np

    with ThreadPoolExecutor(2) as pool:
        return {
            part: logits_of(trainer, photos, settings.batch, pool)
            if len(photos)
            else np.empty((0, len(album.features.classes)), np.float32)
            for part, photos in album.plain.items()
        }


def _check(written: Path, trunk: OpenTrunk, album: Album, measured: Mapping[str, Array], softmax: str) -> float:
    """Run the written graph on photos and return how far it is from what training measured.

    Raises:
        RuntimeFailedError: it computes something else.
    """
    part = next(part for part in ("test", "validation", "train") if len(album.plain[part]))
    photos, wanted = album.plain[part], dense.softmax(measured[part])
    worst = 0.0
    with runtimes.tensorflow_graph(written) as runner:
        for number in range(min(len(photos), _CHECKED)):
            (found,) = runner.run([softmax], {str(trunk.start): photos.view(number, 0)[None]})
            worst = max(worst, float(abs(found[0] - wanted[number]).max()))
    if not worst <= _TOLERANCE:
        raise RuntimeFailedError(
            f"the frozen graph gives other probabilities than training measured (by up to {worst:.3g})",
            hint="report it: this is a bug of tfinspect or of TensorFlow",
            evidence={"difference": worst},
        )
    return worst


def _made(
    file: Path, task: Task, album: Album, classes: Sequence[str], settings: Settings, head: DenseHead
) -> dict[str, Any]:
    """Return what a checkpoint must agree with to be gone on from."""
    digest = hashlib.sha256()
    for key, value in _head_values(head).items():
        digest.update(key.encode() + value.tobytes())
    facts = asdict(settings)
    return {
        "the trunk": hashlib.sha256(file.read_bytes()).hexdigest(),
        "the bottleneck": task.bottleneck,
        "the layers": hashlib.sha256(repr(sorted(task.rates)).encode()).hexdigest(),
        "the photos": album.digest,
        "the classes": list(classes),
        "the head": [[list(pair) for pair in task.head], digest.hexdigest()],
        **{f"--{key.replace('_', '-')}": value for key, value in facts.items() if key != "patience"},
    }
