"""What features must be like to train a head on them, and how they are brought to mean 0 and deviation 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import InputError, UsageError, counted
from tfinspect.learn.dense import Layer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tfinspect.ir.features import Features, Split
    from tfinspect.learn.dense import Kind

    Array = npt.NDArray[Any]

_FEW: Final = 2  # images of a class that are too few to tell anything
_PAIR: Final = 2
_NAMED: Final = 5  # classes that a message names
_STILL: Final = 1e-6  # of a feature's size: a deviation below it is rounding


@dataclass(frozen=True, slots=True)
class Scaling:
    """How features are shifted and scaled: (features - mean) * inverse.

    Attributes:
        mean: of each feature over the training images, float64.
        inverse: of its deviation; 0 for a feature that does not change.
    """

    mean: Array
    inverse: Array

    @classmethod
    def of(cls, features: Array) -> Scaling:
        """Measure the scaling of training images."""
        import numpy as np

        mean = features.mean(0, dtype=np.float64)
        deviation = features.std(0, dtype=np.float64)
        still = deviation <= _STILL * np.maximum(abs(mean), np.finfo(np.float32).tiny)
        return cls(mean, np.where(still, 0.0, 1 / np.where(still, 1.0, deviation)))

    def apply(self, features: Array, dtype: npt.DTypeLike) -> Array:
        """Return scaled features."""
        found: Array = (features - self.mean.astype(dtype)) * self.inverse.astype(dtype)
        return found.astype(dtype, copy=False)

    def fold(self, layer: Layer) -> Layer:
        """Return the layer that gives for raw features what `layer` gives for scaled ones, in float64."""
        weights = layer.weights * self.inverse[:, None]
        return Layer(weights, layer.biases - self.mean @ weights, layer.activation)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Features that a head can be trained on.

    Attributes:
        kind: what the head gives.
        classes: names of its outputs.
        train: numbers of the images it is trained on.
        watch: numbers of the images it is watched on; those of `train` where there is no validation part.
        has_validation: whether there is one.
        targets: [n, outputs] of float64: one-hot, 0 and 1, or quantities.
        warnings: what a person must know before trusting the result.
    """

    kind: Kind
    classes: tuple[str, ...]
    train: Array
    watch: Array
    has_validation: bool
    targets: Array
    warnings: tuple[str, ...]


def prepare(data: Features, where: str, kind: Kind | None = None) -> Prepared:
    """Check features and labels.

    Args:
        data: the features.
        where: the file they come from, for messages.
        kind: what the head gives; None: what the labels are like.

    Raises:
        InputError: there is nothing to train on, or numbers that no head can be trained on.
        UsageError: the labels are not of that kind.
    """
    import numpy as np

    if not len(data.features) or not data.width:
        what = "images" if not len(data.features) else "features"
        raise InputError(f"{where} holds no {what}", evidence={"path": where, "shape": list(data.features.shape)})
    found = _kind(data, where, kind)
    targets, classes = _targets(data, where, found)
    _finite(data, targets, where)
    train, watch = (np.flatnonzero(data.part(part)) for part in ("train", "validation"))
    if not len(train):
        raise InputError(
            f"{where} has no image in its training part",
            details=[f"{counted(int(data.part(part).sum()), 'image')} in {part}" for part in _others()],
            evidence={"path": where},
        )
    if not Scaling.of(data.features[train]).inverse.any():
        raise InputError(
            f"{where}: every feature has the same value for all {counted(len(train), 'training image')}",
            hint="the trunk gives constants: was another tensor meant as the bottleneck?",
            evidence={"path": where, "images": len(train), "width": data.width},
        )
    warnings = _class_warnings(targets, train, classes, where, found) if found != "linear" else []
    if found == "linear" and not targets[train].std(0).any():
        raise InputError(f"{where}: the target has the same value for every training image", evidence={"path": where})
    if not len(watch):
        warnings.append("there are no validation images: what is chosen is chosen on the training images themselves")
    if not data.part("test").any():
        warnings.append("there are no test images: how good the head is on new images was not measured")
    has_validation = len(watch) > 0
    return Prepared(found, classes, train, watch if has_validation else train, has_validation, targets, tuple(warnings))


def _others() -> tuple[Split, Split]:
    return "validation", "test"


def _kind(data: Features, where: str, kind: Kind | None) -> Kind:
    labels = data.labels
    whole = labels.dtype.kind in "iu"
    fits: Kind = ("softmax" if labels.ndim == 1 else "sigmoid") if whole else "linear"
    if labels.ndim > _PAIR:
        raise InputError(f"{where}: `labels` has the shape {list(labels.shape)}, which no head gives")
    if kind is None or kind == fits:
        return fits
    wanted = {
        "softmax": "one class number an image, [images] of integers",
        "sigmoid": "0 or 1 for each class, [images, classes] of integers",
        "linear": "quantities, [images] or [images, targets] of floats",
    }[kind]
    raise UsageError(
        f"{where}: a {kind} head needs {wanted}; `labels` is {labels.dtype} of shape {list(labels.shape)}",
        hint=f"--kind {fits}",
        evidence={"path": where, "kind": kind, "dtype": str(labels.dtype), "shape": list(labels.shape)},
    )


def _targets(data: Features, where: str, kind: Kind) -> tuple[Array, tuple[str, ...]]:
    import numpy as np

    labels, classes = data.labels, data.classes
    if kind == "softmax":
        return np.eye(len(classes))[labels], classes
    if kind == "linear":
        columns = labels.reshape(len(labels), -1).astype(np.float64)
        return columns, classes if len(classes) == columns.shape[1] else ()
    if labels.shape[1] != len(classes):
        raise InputError(f"{where}: `labels` has {labels.shape[1]:,} columns for {counted(len(classes), 'name')}")
    if labels.size and not 0 <= labels.min() <= labels.max() <= 1:
        raise InputError(
            f"{where}: `labels` has numbers from {labels.min()} to {labels.max()}, where each is 0 or 1",
            evidence={"path": where},
        )
    return labels.astype(np.float64), classes


def _finite(data: Features, targets: Array, where: str) -> None:
    import numpy as np

    for name, values in (("features", data.features), ("labels", targets)):
        broken = np.flatnonzero(~np.isfinite(values).all(1))
        if len(broken):
            first = int(broken[0])
            column = int(np.flatnonzero(~np.isfinite(values[first]))[0])
            raise InputError(
                f"{where}: `{name}` has {values[first, column]} at [{first}, {column}], of {data.files[first]}"
                + (f", and more in {counted(len(broken) - 1, 'other image')}" if len(broken) > 1 else ""),
                evidence={"path": where, "array": name, "index": [first, column], "images": len(broken)},
            )


def _class_warnings(targets: Array, train: Array, classes: Sequence[str], where: str, kind: Kind) -> list[str]:
    counts = targets[train].sum(0).astype(int).tolist()
    missing = [name for name, count in zip(classes, counts, strict=True) if not count]
    present = [name for name, count in zip(classes, counts, strict=True) if count]
    evidence = {"path": where, "classes": list(classes), "images": counts}
    if kind == "softmax" and len(present) < _PAIR:
        raise InputError(
            f"{where} has training images of one class only, `{present[0]}`",
            hint="a head tells classes apart: two are needed",
            evidence=evidence,
        )
    if kind == "sigmoid" and not targets[train].std(0).any():
        raise InputError(f"{where} has the same labels for every training image", evidence=evidence)
    warnings = []
    if missing:
        warnings.append(f"{_listed(missing)} {'has' if len(missing) == 1 else 'have'} no training image")
    few = [name for name, count in zip(classes, counts, strict=True) if 0 < count <= _FEW]
    if few:
        warnings.append(f"{_listed(few)} {'has' if len(few) == 1 else 'have'} only one or two training images")
    return warnings


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_NAMED])
    word = "class" if len(names) == 1 else "classes"
    return f"{word} {shown}" + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
