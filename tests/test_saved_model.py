"""SavedModel folders: read with their variables, and written so that TensorFlow runs them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.graph_models import graph as graph_of
from tests.graph_models import op
from tfinspect import formats
from tfinspect.errors import (
    CorruptFileError,
    FileMissingError,
    IncompleteCheckpointError,
    InputError,
    LimitError,
    OutputError,
    OutputExistsError,
    UsageError,
)
from tfinspect.formats import graphdef, saved_model
from tfinspect.formats._schema import message_class
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Graph, Node, const
from tfinspect.ir.refs import TensorRef
from tfinspect.ir.signature import Signature, TensorSpec
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

FIXTURES = Path(__file__).parent.parent / "fixtures"
WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3)
LARGE = np.arange(40_000, dtype=np.float32).reshape(4, 10_000)


def dense() -> Graph:
    """y = x @ w, and a large constant beside it; a scalar string goes in and its bytes come out."""
    return graph_of(
        op("Placeholder", "x", dtype=DType.FLOAT, shape=(None, 4)),
        const("w", Tensor.of(WEIGHTS)),
        const("large", Tensor.of(LARGE)),
        op("MatMul", "y", "x", "w", T=DType.FLOAT, transpose_a=False, transpose_b=False),
        op("MatMul", "z", "x", "large", T=DType.FLOAT, transpose_a=False, transpose_b=False),
        producer=21,
    )


def spec(
    name: str, key: str | None, dtype: DType = DType.FLOAT, shape: tuple[int | None, ...] | None = (None, 4)
) -> TensorSpec:
    return TensorSpec(TensorRef(name), dtype, shape, key)


SIGNATURE = Signature(
    "serving_default",
    (spec("x", "features"),),
    (spec("y", "scores", shape=(None, 3)), spec("z", "wide", shape=(None, 10_000))),
    "tensorflow/serving/predict",
)


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


# ------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("name", ["saved_model", "saved_model/saved_model.pb"])
def test_the_folder_and_the_file_in_it_are_the_same_model(name: str) -> None:
    model = saved_model.read(FIXTURES / name)
    assert model.path == str(FIXTURES / name)
    assert model.tags == ("serve",)
    assert model.checkpoint is not None
    assert model.checkpoint.read("w").shape == (4, 3)
    (signature,) = model.signatures.values()
    assert [(s.key, str(s.ref), s.dtype, s.shape) for s in signature.inputs] == [("x", "x:0", DType.FLOAT, (None, 4))]
    assert model.graph is not None
    assert model.graph.source is not None
    assert model.graph.source.path == str(FIXTURES / "saved_model/saved_model.pb")


def test_the_first_of_several_meta_graphs(tmp_path: Path) -> None:
    message = message_class("SavedModel")(saved_model_schema_version=1)
    for tag in ("train", "serve"):
        meta = message.meta_graphs.add()
        meta.meta_info_def.tags.append(tag)
        meta.graph_def.node.add(name=tag, op="NoOp")
    (tmp_path / "saved_model.pb").write_bytes(message.SerializeToString())
    model = saved_model.read(tmp_path)
    assert model.tags == ("train",)
    assert model.graph is not None
    assert [n.name for n in model.graph] == ["train"]


def test_folders_without_one(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match=r"holds no saved_model\.pb$"):
        saved_model.read(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(CorruptFileError, match="expected a MetaGraphDef, found the end of the file"):
        saved_model.read(tmp_path)


def test_a_file_that_was_renamed_has_no_variables_beside_it(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "saved_model", tmp_path / "m")
    (tmp_path / "m/saved_model.pb").rename(tmp_path / "m/other.pb")
    assert formats.open_model(tmp_path / "m/other.pb").checkpoint is None


def test_variables_with_a_missing_index_are_said_to_be_incomplete(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "saved_model", tmp_path / "m")
    (tmp_path / "m/variables/variables.index").unlink()
    with pytest.raises(IncompleteCheckpointError, match=r"variables\.index is missing"):
        formats.open_model(tmp_path / "m")


@pytest.mark.parametrize("part", ["variables", "variables/variables.index", "variables/variables.data-00000-of-00001"])
def test_variables_that_a_link_leads_to_outside_are_not_read(part: str, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "saved_model", tmp_path / "other")
    shutil.copytree(FIXTURES / "saved_model", tmp_path / "m")
    place = tmp_path / "m" / part
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    place.symlink_to(tmp_path / "other" / part)
    with pytest.raises(InputError, match=r"lies outside of .*: a symbolic link leads there") as caught:
        formats.open_model(tmp_path / "m")
    assert caught.value.hint == f"copy the folder with what the links point to: cp -rL {tmp_path / 'm'} COPY"
    (tmp_path / "link").symlink_to(tmp_path / "other")  # the path itself may be a link: the user typed it
    assert formats.open_model(tmp_path / "link").checkpoint is not None


# ------------------------------------------------------------------------------------------------------- writing


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    graph = dense()
    saved_model.write(
        graph, tmp_path / "m", signature=SIGNATURE, assets={"labels.txt": b"a\nb\nc\n"}, tags=("serve", "gpu")
    )
    assert files(tmp_path / "m") == {"saved_model.pb", "variables", "assets", "assets/labels.txt"}
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    model = formats.open_model(tmp_path / "m")
    assert model.signatures == {"serving_default": SIGNATURE}
    assert (model.tags, model.checkpoint) == (("gpu", "serve") if model.tags[0] == "gpu" else ("serve", "gpu"), None)
    assert model.graph is not None
    assert [n.name for n in model.graph] == [n.name for n in graph]
    assert b"".join(graphdef.encode(model.graph)) == b"".join(graphdef.encode(graph))
    assert (tmp_path / "m/assets/labels.txt").read_bytes() == b"a\nb\nc\n"
    message = message_class("SavedModel").FromString((tmp_path / "m/saved_model.pb").read_bytes())
    assert message.saved_model_schema_version == 1


def test_assets_stay_in_their_folder(tmp_path: Path) -> None:
    saved_model.write(dense(), tmp_path / "m", signature=SIGNATURE, assets={"../../up.txt": b"x"})
    assert files(tmp_path) == {"m", "m/saved_model.pb", "m/variables", "m/assets", "m/assets/up.txt"}
    with pytest.raises(OutputError):
        saved_model.write(dense(), tmp_path / "n", signature=SIGNATURE, assets={"..": b"x"})
    assert not (tmp_path / "n").exists()


def test_an_existing_folder_is_refused_or_swapped(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/mine.txt").write_text("mine")
    with pytest.raises(OutputExistsError):
        saved_model.write(dense(), tmp_path / "m", signature=SIGNATURE)
    assert files(tmp_path) == {"m", "m/mine.txt"}
    saved_model.write(dense(), tmp_path / "m", signature=SIGNATURE, force=True)
    assert files(tmp_path) == {"m", "m/saved_model.pb", "m/variables"}


class Killed(BaseException):
    """As SIGINT would be."""


def _raise(error: BaseException) -> Callable[[], Any]:
    def load() -> Any:
        raise error

    return load


@pytest.mark.parametrize(
    ("error", "expected"),
    [(Killed(), Killed), (InputError("shard gone"), InputError), (OSError(28, "No space left"), OutputError)],
)
@pytest.mark.parametrize("exists", [False, True])
def test_a_failure_in_the_middle_leaves_nothing(
    *, error: BaseException, expected: type[BaseException], exists: bool, tmp_path: Path
) -> None:
    bad = Tensor(DType.FLOAT, (1000, 1000), _raise(error), _raise(error))
    graph = Graph([*dense().nodes, const("bad", bad)])
    before = set()
    if exists:
        (tmp_path / "m").mkdir()
        (tmp_path / "m/mine.txt").write_text("mine")
        before = {"m", "m/mine.txt"}
    with pytest.raises(expected):
        saved_model.write(graph, tmp_path / "m", signature=SIGNATURE, assets={"a": b"b"}, force=exists)
    assert files(tmp_path) == before


def test_2_gib_is_refused_up_front(tmp_path: Path) -> None:
    never = _raise(AssertionError("the values were asked for"))
    half = Tensor(DType.FLOAT, (1 << 28,), never, never)
    graph = Graph([const("a", half), const("b", half)])
    with pytest.raises(LimitError, match=r"a saved_model\.pb cannot exceed 2,147,483,647"):
        saved_model.write(graph, tmp_path / "m", signature=SIGNATURE)
    assert files(tmp_path) == set()


def test_two_outputs_under_one_key_are_refused(tmp_path: Path) -> None:
    twice = Signature("s", (spec("x", "x"),), (spec("y", "out"), spec("z", "out")))
    with pytest.raises(UsageError, match="two tensors of the signature `s` have the key `out`"):
        saved_model.write(dense(), tmp_path / "m", signature=twice)
    assert files(tmp_path) == set()


# ------------------------------------------------------------------------------------------- run by TensorFlow


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_tensorflow_runs_what_is_written(tmp_path: Path) -> None:
    import tensorflow as tf

    jpeg = (FIXTURES / "photo.jpg").read_bytes()
    nodes: list[Node] = [
        *dense().nodes,
        op("Placeholder", "bytes", dtype=DType.STRING, shape=()),
        op("DecodeJpeg", "pixels", "bytes", channels=3),
    ]
    graph = Graph(nodes, versions=dense().versions)
    signature = Signature(
        SIGNATURE.name,
        (*SIGNATURE.inputs, spec("bytes", "image", DType.STRING, ())),
        (*SIGNATURE.outputs, spec("pixels", "pixels", DType.UINT8, (None, None, 3))),
        SIGNATURE.method,
    )
    folder = tmp_path / "m"
    saved_model.write(graph, folder, signature=signature, assets={"labels.txt": b"a\nb\nc\n"})
    x = np.array([[1, 2, 3, 4], [0, 1, 0, -1]], np.float32)
    pixels = tf.io.decode_jpeg(jpeg, channels=3).numpy()

    def check(scores: Any, wide: Any, seen: Any) -> None:
        np.testing.assert_allclose(scores, x @ WEIGHTS, rtol=1e-6)
        np.testing.assert_allclose(wide, x @ LARGE, rtol=1e-5)
        assert seen.shape == pixels.shape
        assert abs(seen.astype(int) - pixels.astype(int)).mean() < 1

    loaded = tf.saved_model.load(str(folder)).signatures["serving_default"]
    out = loaded(features=tf.constant(x), image=tf.constant(jpeg))
    check(out["scores"].numpy(), out["wide"].numpy(), out["pixels"].numpy())
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
        found = meta.signature_def["serving_default"]
        fetches = [found.outputs[key].name for key in ("scores", "wide", "pixels")]
        feeds = {found.inputs["features"].name: x, found.inputs["image"].name: jpeg}
        check(*session.run(fetches, feeds))
    assert (folder / "assets/labels.txt").read_text() == "a\nb\nc\n"
