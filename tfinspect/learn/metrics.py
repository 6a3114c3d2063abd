"""How good a head is on one part of the data, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tfinspect.learn.dense import Kind

    Array = npt.NDArray[Any]

_TOP: Final = (1, 2, 3, 5)
_SMALLEST: Final = 1e-15  # a probability of 0 would make the log loss infinite
_Z: Final = 1.959963984540054  # of the normal distribution, for 95 %
_CURVE_POINTS: Final = 100


class ClassMetrics(TypedDict):
    """How good a head is on one class; None where there is nothing to divide by.

    Attributes:
        name: of the class.
        support: images that are of this class.
        precision: share of right ones among those that were called it.
        recall: share of its images that were called it, its accuracy.
        f1: harmonic mean of both.
        roc_auc: probability that one of its images gets a higher value than one of another class.
    """

    name: str
    support: int
    precision: float | None
    recall: float | None
    f1: float | None
    roc_auc: float | None


def evaluate(kind: Kind, outputs: Array, labels: Array, classes: Sequence[str]) -> dict[str, Any]:
    """Return the metrics of one part, ready for JSON; only `images` where it is empty.

    Args:
        kind: what the head gives.
        outputs: probabilities [n, classes], or quantities [n, targets].
        labels: as `Features.labels`.
        classes: their names.
    """
    if not len(outputs):
        return {"images": 0}
    if kind == "softmax":
        return _softmax(outputs, labels, classes)
    if kind == "sigmoid":
        return _sigmoid(outputs, labels, classes)
    return _linear(outputs, labels.reshape(len(outputs), -1), classes)


def _softmax(outputs: Array, labels: Array, classes: Sequence[str]) -> dict[str, Any]:
    import numpy as np

    count, width = outputs.shape
    truth = outputs[np.arange(count), labels]
    # images whose class got a smaller value than k others are not among the first k; of equal values the first counts
    earlier = np.arange(width)[None, :] < labels[:, None]
    place = ((outputs > truth[:, None]) | ((outputs == truth[:, None]) & earlier)).sum(1)
    predicted = outputs.argmax(1)
    confusion = np.zeros((width, width), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    right = np.diag(confusion)
    rows = [
        _class(
            name,
            int(right[i]),
            int(confusion[i].sum()),
            int(confusion[:, i].sum()),
            roc_auc(outputs[:, i], labels == i),
        )
        for i, name in enumerate(classes)
    ]
    hits = int((predicted == labels).sum())
    return {
        "images": count,
        "accuracy": hits / count,
        "accuracy_interval": list(interval(hits, count)),
        "balanced_accuracy": _mean([row["recall"] for row in rows]),
        "top_k": {str(k): float((place < k).mean()) for k in _TOP if k < width or k == 1},
        "log_loss": float(-np.log(np.maximum(truth.astype(np.float64), _SMALLEST)).mean()),
        "f1": _mean([row["f1"] for row in rows if row["support"]]),
        "roc_auc": _mean([row["roc_auc"] for row in rows]),
        "per_class": rows,
        "confusion": confusion.tolist(),
    }


def _sigmoid(outputs: Array, labels: Array, classes: Sequence[str]) -> dict[str, Any]:
    import numpy as np

    called, truth = outputs >= 0.5, labels > 0  # noqa: PLR2004 - more likely than not
    rows, tables = [], []
    for i, name in enumerate(classes):
        right = int((called[:, i] & truth[:, i]).sum())
        support, taken = int(truth[:, i].sum()), int(called[:, i].sum())
        rows.append(_class(name, right, support, taken, roc_auc(outputs[:, i], truth[:, i])))
        tables.append([[len(outputs) - support - taken + right, taken - right], [support - right, right]])
    sure = np.clip(outputs.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    hits = int((called == truth).sum())
    return {
        "images": len(outputs),
        "accuracy": hits / truth.size,
        "exact_match": float((called == truth).all(1).mean()),
        "log_loss": float(-np.where(truth, np.log(sure), np.log1p(-sure)).mean()),
        "f1": _mean([row["f1"] for row in rows if row["support"]]),
        "roc_auc": _mean([row["roc_auc"] for row in rows]),
        "per_class": rows,
        "confusion": tables,
    }


def _linear(outputs: Array, labels: Array, classes: Sequence[str]) -> dict[str, Any]:
    import numpy as np

    errors = outputs.astype(np.float64) - labels
    spread = ((labels - labels.mean(0, dtype=np.float64)) ** 2).sum(0)
    names = list(classes) if len(classes) == labels.shape[1] else [f"target {i}" for i in range(labels.shape[1])]
    rows = [
        {
            "name": name,
            "mse": float((errors[:, i] ** 2).mean()),
            "mae": float(abs(errors[:, i]).mean()),
            "r2": float(1 - (errors[:, i] ** 2).sum() / spread[i]) if spread[i] > 0 else None,
        }
        for i, name in enumerate(names)
    ]
    return {
        "images": len(outputs),
        "mse": float((errors**2).mean()),
        "mae": float(abs(errors).mean()),
        "r2": _mean([row["r2"] for row in rows]),
        "per_target": rows,
    }


def _class(name: str, right: int, support: int, called: int, auc: float | None) -> ClassMetrics:
    return {
        "name": name,
        "support": support,
        "precision": right / called if called else None,
        "recall": right / support if support else None,
        "f1": 2 * right / (support + called) if support + called else None,
        "roc_auc": auc,
    }


def _mean(values: Sequence[object]) -> float | None:
    known = [value for value in values if isinstance(value, float)]
    return sum(known) / len(known) if known else None


def roc_auc(values: Array, positive: Array) -> float | None:
    """Return the area under the ROC curve, equal values counted half; None where all or none are positive."""
    import numpy as np

    count = int(positive.sum())
    others = len(positive) - count
    if not count or not others:
        return None
    _, place, ties = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[place]
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def roc_curve(values: Array, positive: Array) -> tuple[Array, Array] | None:
    """Return false and true positive rates from the highest value down; None as in `roc_auc`."""
    import numpy as np

    count = int(positive.sum())
    others = len(positive) - count
    if not count or not others:
        return None
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    true = np.cumsum(positive[order])[ends]
    false = ends + 1 - true
    if len(ends) > _CURVE_POINTS:
        kept = np.unique(np.linspace(0, len(ends) - 1, _CURVE_POINTS).round().astype(int))
        true, false = true[kept], false[kept]
    return np.append(0.0, false / others), np.append(0.0, true / count)


def interval(hits: int, count: int) -> tuple[float, float]:
    """Return where the true share lies with 95 % confidence, after Wilson, which holds for few images too."""
    share, square = hits / count, _Z**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = _Z / (1 + square / count) * (share * (1 - share) / count + square / (4 * count**2)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def mistakes(
    kind: Kind, outputs: Array, labels: Array, classes: Sequence[str], files: Sequence[str], *, limit: int = 1000
) -> list[tuple[str, str, str, float]]:
    """Return file, what it is, what it was taken for, and how surely; the surest mistakes first.

    Of a sigmoid, `not NAME` is a class that an image was called or is without; of a linear head every image counts,
    with truth and answer as text, and the largest error first.
    """
    import numpy as np

    rows: list[tuple[str, str, str, float]] = []
    if kind == "softmax":
        predicted = outputs.argmax(1)
        rows += [
            (files[i], classes[labels[i]], classes[predicted[i]], float(outputs[i, predicted[i]]))
            for i in np.flatnonzero(predicted != labels).tolist()
        ]
    elif kind == "sigmoid":
        called = outputs >= 0.5  # noqa: PLR2004 - more likely than not
        for i, j in np.argwhere(called != (labels > 0)).tolist():
            value, name = float(outputs[i, j]), classes[j]
            pair = (f"not {name}", name, value) if called[i, j] else (name, f"not {name}", 1 - value)
            rows.append((files[i], *pair))
    else:
        truth = labels.reshape(len(outputs), -1)
        for i, row in enumerate(abs(outputs - truth).tolist()):
            j = int(np.argmax(row))
            rows.append((files[i], f"{truth[i, j]:.9g}", f"{outputs[i, j]:.9g}", float(row[j])))
    return sorted(rows, key=lambda row: (-row[3], row[0]))[:limit]
