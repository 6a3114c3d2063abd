"""Networks of slim that are rebuilt from a checkpoint without a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.slim_checkpoints import shapes_of, write_checkpoint
from tfinspect import formats
from tfinspect.api.freeze import freeze_model
from tfinspect.architectures import inception_v3
from tfinspect.architectures.recognize import recognize

if TYPE_CHECKING:
    from pathlib import Path

NARROW_V3 = {"Mixed_7c/Branch_2/Conv2d_0a_1x1/weights": (1, 1, 1, 44), "Logits/Conv2d_1c_1x1/weights": (1, 1, 1, 11)}


def test_inception_v3_is_frozen_from_a_bare_checkpoint(tmp_path: Path) -> None:
    prefix = tmp_path / "inception_v3.ckpt"
    values = write_checkpoint(prefix, shapes_of(inception_v3.FAMILY, NARROW_V3))
    found = recognize(formats.read_checkpoint(prefix))
    assert str(found) == "Inception v3 0.1 (slim), 11 classes, input 299x299 assumed"
    done = freeze_model(prefix)
    assert [spec.name for spec in done.inputs] == ["input:0"]
    assert [spec.name for spec in done.outputs] == ["InceptionV3/Predictions/Reshape_1:0"]
    assert dict(done.report.restored) == {name: name for name in values}
    kept = done.graph.node("InceptionV3/Mixed_5b/Branch_0/Conv2d_0a_1x1/weights").tensor()
    assert kept is not None
    assert (kept.numpy() == values["InceptionV3/Mixed_5b/Branch_0/Conv2d_0a_1x1/weights"]).all()
