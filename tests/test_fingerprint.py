"""Fingerprints of SavedModels, and every checksum of a model on request."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.checkpoint_writers import write_bundle
from tests.graph_models import ZOO, needs_zoo
from tfinspect import formats
from tfinspect.api.checksums import checksums
from tfinspect.errors import InputError, WrongKindError
from tfinspect.formats import _fingerprint
from tfinspect.formats._farmhash import fingerprint64
from tfinspect.formats._schema import message_class
from tfinspect.ir.dtypes import DType

FIXTURES = Path(__file__).parent.parent / "fixtures"
MODEL = FIXTURES / "tf2_saved_model"
# TensorFlow's answers for the bytes of `sample`
VECTORS = {
    0: 11160318154034397263, 1: 5161771770385946686, 3: 4662423180930907492, 4: 13909349088106176104,
    7: 17233423938440663304, 8: 12627020141284786728, 16: 9887023220782602712, 17: 16960068419638019727,
    32: 3992320350721670009, 33: 12457070707786611405, 64: 11083064061832698092, 65: 444801980686921533,
    128: 15838856113771212233, 129: 5067021833811671751, 1000: 14110994584816394816,
}  # fmt: skip
HASHED = """
import json, sys
import tensorflow as tf
out = {}
for n in list(range(1, 140)) + [191, 192, 193, 5000]:
    data = tf.constant([[(i * 7 + n) & 255 for i in range(n)]], tf.uint8)
    hashed = tf.raw_ops.Fingerprint(data=data, method=tf.constant("farmhash64"))
    out[n] = int.from_bytes(hashed.numpy().tobytes(), "little")
print(json.dumps(out))
"""


def sample(size: int) -> bytes:
    return bytes((i * 7 + size) & 255 for i in range(size))


@pytest.mark.parametrize("size", VECTORS)
def test_farmhash(size: int) -> None:
    assert fingerprint64(sample(size)) == VECTORS[size]
    assert fingerprint64(memoryview(sample(size))) == VECTORS[size]


@pytest.mark.tensorflow
def test_farmhash_is_tensorflows() -> None:
    done = subprocess.run([sys.executable, "-c", HASHED], capture_output=True, text=True, check=True)
    wanted = {int(size): number for size, number in json.loads(done.stdout.splitlines()[-1]).items()}
    assert {size: fingerprint64(sample(size)) for size in wanted} == wanted


def test_what_the_file_says() -> None:
    found = _fingerprint.read(MODEL)
    assert found is not None
    assert (found.version, found.uuid) == (4, "0" * 38)
    facts = formats.open_model(MODEL).facts
    assert facts["fingerprint"] == f"uuid {'0' * 38}, checkpoint {found.checkpoint:016x}, version 4"
    assert _fingerprint.read(FIXTURES / "saved_model") is None


def statuses(path: Path) -> dict[str, tuple[str, str]]:
    return {check.what: (check.status, check.detail) for check in checksums(path)}


def test_a_model_that_is_well() -> None:
    found = statuses(MODEL)
    assert {what: status for what, (status, _) in found.items()} == {
        "fingerprint.pb: checkpoint_hash": "ok",
        "fingerprint.pb: saved_model_checksum": "ok",
        "fingerprint.pb: graph_def_program_hash": "not checked",
        "fingerprint.pb: signature_def_hash": "not checked",
        "fingerprint.pb: saved_object_graph_hash": "not checked",
        "variables.index": "ok",
        "variables": "ok",
    }
    assert found["variables"][1] == "6 of 6 variables well, 664 bytes"


def test_another_models_variables_are_noticed(tmp_path: Path) -> None:
    model = tmp_path / "m"
    shutil.copytree(MODEL, model)
    write_bundle(model / "variables/variables", {"w": np.zeros(3, "f4")})
    status, detail = statuses(model)["fingerprint.pb: checkpoint_hash"]
    wanted = fingerprint64((MODEL / "variables/variables.index").read_bytes())
    given = fingerprint64((model / "variables/variables.index").read_bytes())
    assert status == "failed"
    assert detail == f"expected {wanted:016x}, and variables/variables.index has {given:016x}"
    shutil.rmtree(model / "variables")
    assert statuses(model)["fingerprint.pb: checkpoint_hash"] == (
        "failed",
        "it speaks of a variables/variables.index, and there is none",
    )
    assert statuses(model)["variables"] == ("not checked", "there are none")


def test_a_changed_graph_is_never_called_well(tmp_path: Path) -> None:
    model = tmp_path / "m"
    shutil.copytree(MODEL, model)
    message = message_class("SavedModel").FromString((model / "saved_model.pb").read_bytes())
    message.meta_graphs[0].graph_def.node[0].name += "x"
    (model / "saved_model.pb").write_bytes(message.SerializeToString(deterministic=True))
    assert statuses(model)["fingerprint.pb: saved_model_checksum"][0] == "not checked"


def test_each_damaged_tensor_is_named_with_its_byte(tmp_path: Path) -> None:
    arrays = {
        "a": np.zeros(4, "f4"),
        "b": np.ones(4, "f4"),
        "c": np.array([b"x", b"yz"], object),
        "d": np.ones(2, "f4"),
    }
    write_bundle(tmp_path / "c", arrays)
    shard = tmp_path / "c.data-00000-of-00001"
    data = bytearray(shard.read_bytes())
    data[20] ^= 1  # in b
    data[-9] ^= 1  # the last byte of c
    shard.write_bytes(data)
    found = list(checksums(tmp_path / "c"))
    assert [(check.what, check.status) for check in found] == [
        ("c.index", "ok"),
        ("b", "failed"),
        ("c", "failed"),
        ("c", "ok"),
    ]
    assert found[1].detail.startswith(f"{shard} is damaged at byte 16 (tensor `b`): expected 16 bytes with checksum ")
    assert f"{shard} is damaged at byte 32 (tensor `c`)" in found[2].detail
    assert found[3].detail == "2 of 4 variables well, 24 bytes"


def test_a_file_that_was_moved_is_not_compared_with_what_stands_beside_it(tmp_path: Path) -> None:
    model = tmp_path / "m"
    shutil.copytree(MODEL, model)
    assert statuses(model / "saved_model.pb") == statuses(model)
    (model / "saved_model.pb").rename(model / "other.pb")
    assert statuses(model / "other.pb") == {
        "fingerprint.pb": ("not checked", "there is none"),
        "variables": ("not checked", "there are none"),
    }


def test_a_missing_shard_fails_its_tensors(tmp_path: Path) -> None:
    write_bundle(tmp_path / "c", {"a": np.zeros(4, "f4"), "b": np.ones(4, "f4")}, num_shards=2)
    (tmp_path / "c.data-00001-of-00002").unlink()
    found = [(check.what, check.status) for check in checksums(tmp_path / "c")]
    assert sorted(found[1:]) in ([("a", "failed"), ("c", "ok")], [("b", "failed"), ("c", "ok")])


def test_values_that_cannot_be_read_are_not_called_well(tmp_path: Path) -> None:
    write_bundle(tmp_path / "c", {"a": np.zeros(4, "f4"), "r": np.zeros(0, "f4")}, dtypes={"r": DType.RESOURCE})
    assert [(check.what, check.status) for check in checksums(tmp_path / "c")] == [
        ("c.index", "ok"), ("r", "not checked"), ("c", "ok"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["training", "training_v1", "partitioned/model.ckpt", "retrained", "keras3_training"])
def test_plain_checkpoints(name: str) -> None:
    assert {check.status for check in checksums(FIXTURES / name)} == {"ok"}


def test_other_formats_have_none() -> None:
    with pytest.raises(WrongKindError, match="which has no checksums in it"):
        list(checksums(FIXTURES / "inception_tiny.pb"))


@pytest.mark.parametrize("content", [b"\xff", b"", bytes(1 << 17)])
def test_a_broken_fingerprint(content: bytes, tmp_path: Path) -> None:
    model = tmp_path / "m"
    shutil.copytree(MODEL, model)
    (model / "fingerprint.pb").write_bytes(content)
    with pytest.raises(InputError, match=r"fingerprint\.pb"):
        formats.open_model(model)
    problems: list[object] = []
    found = formats.open_model(model, problems=problems)
    assert len(problems) == 1
    assert found.checkpoint is not None
    first = next(iter(checksums(model)))
    assert (first.what, first.status) == ("fingerprint.pb", "failed")


def test_a_fingerprint_behind_a_link_is_not_followed(tmp_path: Path) -> None:
    model = tmp_path / "m"
    shutil.copytree(MODEL, model)
    (model / "fingerprint.pb").rename(tmp_path / "other.pb")
    (model / "fingerprint.pb").symlink_to(tmp_path / "other.pb")
    with pytest.raises(InputError, match="is reached through a symbolic link"):
        formats.open_model(model)


@needs_zoo
def test_real_fingerprints_fit_their_variables() -> None:
    files = sorted(ZOO.glob("savedmodel_*/**/fingerprint.pb"))
    assert len(files) >= 5
    for file in files:
        found = {check.what: check.status for check in _fingerprint.check_fingerprint(file.parent)}
        assert found["fingerprint.pb: checkpoint_hash"] == "ok", file
        assert "failed" not in found.values(), file
