"""What `finetune` prints."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from tfinspect.api.labels import labels_path
from tfinspect.api.recipe import recipe_path
from tfinspect.cli.render import plural, spec_json
from tfinspect.ir.features import SPLITS

if TYPE_CHECKING:
    from tfinspect.api.finetune import Epoch, Tuned
    from tfinspect.cli.terminal import Terminal


def tell_epoch(terminal: Terminal, epoch: Epoch, epochs: int) -> None:
    """Say on stderr what an epoch came to."""
    watched = ""
    if epoch.validation_accuracy is not None:
        watched = f", validation {_percent(epoch.validation_accuracy)} (loss {epoch.validation_loss:.3f})"
    terminal.note(f"epoch {epoch.number}/{epochs}: loss {epoch.loss:.3f}, seen {_percent(epoch.accuracy)}{watched}")


def show_tuned(terminal: Terminal, done: Tuned) -> None:
    """Print the accuracy of each part, before and after."""
    rows = []
    for part in SPLITS:
        found, before = done.metrics[part], done.before[part]
        if found["images"]:
            numbers = (found["accuracy"], before["accuracy"])
            cells = [_percent(v) if terminal.is_tty else repr(v) for v in numbers]
            rows.append((part, str(found["images"]), *cells))
    terminal.table(("part", "photos", "accuracy", "head alone"), rows, right=(1, 2, 3))
    for name, why in done.skipped:
        terminal.detail(f"skipped {name}: {why}")
    if done.skipped:
        terminal.warn(f"{plural(len(done.skipped), 'photo')} could not be read and {_were(done.skipped)} left out")
    if not done.metrics["test"]["images"]:
        terminal.warn("there are no test photos: how good the result is on new ones was not measured")
    if not done.metrics["validation"]["images"]:
        terminal.warn("there are no validation photos: the last epoch was kept, whatever it is like")
    elif not done.best_epoch:
        terminal.warn("no epoch was better on the validation photos than the start, which was kept")
    elif done.best_epoch < len(done.epochs):
        terminal.note(f"kept epoch {done.best_epoch}, with the lowest validation loss")
    if _is_worse(done):
        terminal.warn(
            "the result does worse on the validation photos than the head alone: fewer layers or smaller steps?"
        )
    what = (
        f"{plural(len(done.variables), 'constant')} of the trunk and the head" if done.variables else "the head alone"
    )
    terminal.note(
        f"trained {what} ({done.runtime}); "
        f"the written graph gives what training measured (within {done.difference:.1e})"
    )
    terminal.note(f"wrote {done.output}, {labels_path(done.output)} and {recipe_path(done.output)}")


def _is_worse(done: Tuned) -> bool:
    """Whether more of the validation photos were taken for something else after training than before."""
    after, before = done.metrics["validation"], done.before["validation"]
    return bool(after["images"]) and after["accuracy"] < before["accuracy"]


def _were(things: tuple[object, ...]) -> str:
    return "was" if len(things) == 1 else "were"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def tuned_json(done: Tuned, graph: str, folder: str) -> dict[str, object]:
    """Return the answer as one object."""
    return {
        "output": done.output,
        "graph": graph,
        "images": folder,
        "metrics": done.metrics,
        "before": done.before,
        "inputs": [spec_json(s) for s in done.inputs],
        "outputs": [spec_json(s) for s in done.outputs],
        "labels": list(done.classes),
        "preprocessing": done.recipe.to_json(),
        "regime": done.regime.to_json(),
        "variables": list(done.variables),
        "epochs": [asdict(epoch) for epoch in done.epochs],
        "best_epoch": done.best_epoch,
        "difference": done.difference,
        "skipped": [{"file": name, "why": why} for name, why in done.skipped],
        "runtime": done.runtime,
        "notes": list(done.notes),
    }
