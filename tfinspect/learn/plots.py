"""Pictures of a training, as PNG: learning curves, confusion matrix, ROC curves."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import RuntimeUnavailableError
from tfinspect.learn.metrics import roc_curve

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tfinspect.learn.problem import Epoch

    Array = npt.NDArray[Any]

_DPI: Final = 120
_BLUE, _ORANGE, _GREY = "#1f77b4", "#e8710a", "#888888"
_NUMBERS: Final = 30  # classes up to which each cell has its number
_NAMES: Final = 60  # classes up to which each row has its name
_LEGEND: Final = 12
_LONGEST: Final = 24  # characters of a name
_HALF: Final = 0.5


def curves(curve: Sequence[Epoch], best: int, what: str) -> bytes:
    """Draw loss and accuracy over the passes.

    Args:
        curve: one entry a pass.
        best: the pass whose weights were kept.
        what: a pass is called, under the axis.

    Raises:
        RuntimeUnavailableError: matplotlib is not installed.
    """
    has_accuracy = curve[0].accuracy is not None if curve else False
    figure = _figure(9.0 if has_accuracy else 5.0, 3.6)
    panes = figure.subplots(1, 2 if has_accuracy else 1, squeeze=False)[0]
    numbers = [epoch.number for epoch in curve]
    for pane, name, ours, theirs in (
        (panes[0], "loss", [e.loss for e in curve], [e.validation_loss for e in curve]),
        (panes[-1], "accuracy", [e.accuracy for e in curve], [e.validation_accuracy for e in curve]),
    ):
        if name == "accuracy" and not has_accuracy:
            continue
        pane.plot(numbers, ours, color=_BLUE, label="training", marker="." if len(curve) == 1 else None)
        if curve and theirs[0] is not None:
            pane.plot(numbers, theirs, color=_ORANGE, label="validation", marker="." if len(curve) == 1 else None)
        if 0 < best < len(curve):
            pane.axvline(best, color=_GREY, linewidth=1, linestyle=":", label=f"kept: {what} {best}")
        pane.set_xlabel(what)
        pane.set_ylabel(name)
        pane.grid(alpha=0.25)
        pane.legend(frameon=False)
    return _png(figure)


def confusion(table: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> bytes:
    """Draw a confusion matrix: rows are what images are, columns what they were taken for.

    Raises:
        RuntimeUnavailableError: matplotlib is not installed.
    """
    import numpy as np

    counts = np.asarray(table, np.int64)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = min(3.2 + 0.42 * len(classes), 16.0)
    figure = _figure(size + 1.2, size)
    pane = figure.subplots()
    image = pane.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=pane, fraction=0.046, pad=0.03, label="share of the row")
    if len(classes) <= _NAMES:
        names = [_name(name) for name in classes]
        pane.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        pane.set_yticks(range(len(names)), names)
    if len(classes) <= _NUMBERS:
        for row, column in np.argwhere(counts > 0).tolist():
            colour = "white" if share[row, column] > _HALF else "black"
            pane.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=colour)
    pane.set_xlabel("taken for")
    pane.set_ylabel("is")
    pane.set_title(title)
    return _png(figure)


def roc(outputs: Array, positive: Array, classes: Sequence[str], areas: Sequence[float | None], title: str) -> bytes:
    """Draw a ROC curve for each class.

    Args:
        outputs: probabilities, [n, classes].
        positive: whether an image is of a class, [n, classes].
        classes: their names.
        areas: under each curve; None where there is none.
        title: over the picture.

    Raises:
        RuntimeUnavailableError: matplotlib is not installed.
    """
    figure = _figure(5.6, 5.0)
    pane = figure.subplots()
    pane.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle=":")
    few = len(classes) <= _LEGEND
    drawn = 0
    for i, name in enumerate(classes):
        found = roc_curve(outputs[:, i], positive[:, i])
        if found is None:
            continue
        drawn += 1
        label = f"{_name(name)}  {areas[i]:.3f}" if few else None
        pane.plot(*found, linewidth=1.5, label=label, color=None if few else _BLUE, alpha=1.0 if few else 0.3)
    pane.set_xlabel("share of other images that are called it")
    pane.set_ylabel("share of its images that are called it")
    pane.set_aspect("equal")
    pane.grid(alpha=0.25)
    pane.set_title(title)
    if few and drawn:
        pane.legend(frameon=False, loc="lower right", title="area under the curve")
    return _png(figure)


def _name(name: str) -> str:
    """Return a name as it may be drawn: no mathematics, no control characters, not too long."""
    plain = "".join(c if c.isprintable() else "?" for c in name).replace("$", r"\$")
    return plain if len(plain) <= _LONGEST else plain[: _LONGEST - 3] + "..."


def _figure(width: float, height: float) -> Any:  # noqa: ANN401 - matplotlib is there or not
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise RuntimeUnavailableError(
            "drawing needs matplotlib, which is not installed",
            hint="pip install 'tfinspect[learn]'",
            evidence={"package": "matplotlib"},
        ) from None
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Any) -> bytes:  # noqa: ANN401 - matplotlib is there or not
    import warnings

    out = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):  # of characters that the font has not
        figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
