"""How a trained head is shown: tables for a person, rows for a pipe, an object for a program."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from tfinspect.errors import counted
from tfinspect.ir.features import SPLITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tfinspect.api.train_head import TrainedHead
    from tfinspect.cli.terminal import Terminal

_ALL: Final = "*"  # of a row that is about all classes
_LONGEST: Final = 12  # characters of a class over a column of the confusion matrix
_GAP: Final = 2
_LARGE: Final = 1000
_OF_QUANTITIES: Final = ("mse", "mae", "r2")


def trained_json(done: TrainedHead, features: str, output: str) -> dict[str, object]:
    """Return the answer of `train-head --json`."""
    return {
        "output": output,
        "features": features,
        "kind": done.trained.kind,
        "classes": list(done.trained.classes),
        "width": done.head.features,
        "metrics": done.metrics,
        "regime": done.regime.to_json(),
        "training": {
            **asdict(done.trained.settings),
            "epochs_run": len(done.trained.curve),
            "best_epoch": done.trained.best_epoch,
            "seconds": done.trained.seconds,
        },
        "files": list(done.files),
        "skipped": done.skipped,
        "warnings": list(done.warnings),
    }


def show_trained(terminal: Terminal, done: TrainedHead) -> None:
    """Print how good a head is."""
    if terminal.is_tty:
        _tables(terminal, done)
    else:
        terminal.table((), _rows(done))


def tell_trained(terminal: Terminal, done: TrainedHead, output: str) -> None:
    """Say on stderr how it was trained, where the data stands, and what was written."""
    settings, regime = done.trained.settings, done.regime
    by = (
        "L-BFGS" if settings.optimizer == "lbfgs" else f"{settings.optimizer}, learning rate {settings.learning_rate:g}"
    )
    steps = counted(len(done.trained.curve), "step" if settings.optimizer == "lbfgs" else "pass").replace(
        "passs", "passes"
    )
    kept = "" if done.trained.best_epoch == len(done.trained.curve) else f", kept number {done.trained.best_epoch}"
    terminal.note(f"trained by {by}: {steps}{kept}, l2 {settings.l2:g}, {done.trained.seconds:.1f} s")
    terminal.note(f"{regime.name}: {regime.why}")
    terminal.note(f"  {regime.advice}")
    if done.skipped:
        terminal.warn(done.skipped)
    for path in done.files:
        terminal.note(f"wrote {path}")
    bottleneck = done.head.made.get("bottleneck")
    if bottleneck is not None and done.trained.kind != "linear":
        trunk = done.head.made.get("trunk", "GRAPH")
        terminal.next_step(
            f"tfinspect graft {shlex.quote(str(trunk))} --bottleneck {shlex.quote(str(bottleneck))} "
            f"--head {shlex.quote(output)} -o OUT.pb"
        )


def _measured(done: TrainedHead) -> str:
    return next(part for part in reversed(SPLITS) if done.metrics[part]["images"])


def _rows(done: TrainedHead) -> list[list[str]]:
    """Return for a pipe: part, class, images, accuracy, precision, f1, ROC AUC.

    Of quantities: part, target, images, mse, mae, r2.
    """
    rows = []
    for part in SPLITS:
        found = done.metrics[part]
        if not found["images"]:
            continue
        images = str(found["images"])
        if done.trained.kind == "linear":
            rows.append([part, _ALL, images, *(_full(found[key]) for key in _OF_QUANTITIES)])
            for row in found["per_target"]:
                values = [_full(row[key]) for key in _OF_QUANTITIES]
                rows += [[part, row["name"], images, *values]]
            continue
        rows.append([part, _ALL, images, _full(found["accuracy"]), "", _full(found["f1"]), _full(found["roc_auc"])])
        for row in found["per_class"]:
            values = [_full(row[key]) for key in ("recall", "precision", "f1", "roc_auc")]
            rows.append([part, row["name"], str(row["support"]), *values])
    return rows


def _full(value: float | None) -> str:
    return "" if value is None else repr(value)


def _tables(terminal: Terminal, done: TrainedHead) -> None:
    parts = [(part, done.metrics[part]) for part in SPLITS if done.metrics[part]["images"]]
    if done.trained.kind == "linear":
        rows = [(part, f"{m['images']:,}", *(_number(m[key]) for key in _OF_QUANTITIES)) for part, m in parts]
        terminal.table(("", "images", *_OF_QUANTITIES), rows, right=range(1, 5))
        return
    header = ("", "images", "accuracy", "95 %", "log loss", "ROC AUC")
    terminal.table(header, [_part(part, found) for part, found in parts], right=range(1, 6))
    part = _measured(done)
    found = done.metrics[part]
    terminal.line()
    terminal.table(
        (part, "images", "accuracy", "precision", "f1", "ROC AUC"),
        [
            (row["name"], f"{row['support']:,}", *map(_percent, (row["recall"], row["precision"])),
             *map(_number, (row["f1"], row["roc_auc"])))
            for row in found["per_class"]
        ],
        right=range(1, 6),
    )  # fmt: skip
    if done.trained.kind == "softmax":
        _confusion(terminal, found["confusion"], done.trained.classes)


def _part(part: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    between = found.get("accuracy_interval")
    words = "" if between is None else f"{100 * between[0]:.1f} to {100 * between[1]:.1f}"
    loss, area = _number(found["log_loss"]), _number(found["roc_auc"])
    return part, f"{found['images']:,}", _percent(found["accuracy"]), words, loss, area


def _confusion(terminal: Terminal, table: Sequence[Sequence[int]], classes: Sequence[str]) -> None:
    """Print the confusion matrix where the terminal is wide enough for all of it."""
    from tfinspect.cli.terminal import shorten

    header = ("is \\ taken for", *(shorten(name, _LONGEST) for name in classes))
    first = max(map(len, (header[0], *classes)))
    wide = max(first, terminal.columns // 2) + sum(len(name) + _GAP for name in header[1:])
    if wide > terminal.columns and sum(len(name) + _GAP for name in header[1:]) + first > terminal.columns:
        return
    terminal.line()
    rows = [
        (name, *(f"{count:,}" if count else "." for count in row)) for name, row in zip(classes, table, strict=True)
    ]
    terminal.table(header, rows, right=range(1, len(header)))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if abs(value) < _LARGE else f"{value:.4g}"
