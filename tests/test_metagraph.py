"""MetaGraphDef: the graph, what names its variables and tensors, and what wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.graph_models import ZOO, needs_zoo
from tfinspect import formats
from tfinspect.errors import CorruptFileError, InputError, WrongKindError
from tfinspect.formats import metagraph
from tfinspect.formats._schema import message_class
from tfinspect.ir.dtypes import DType
from tfinspect.ir.model import Saver
from tfinspect.ir.refs import TensorRef

FIXTURES = Path(__file__).parent.parent / "fixtures"


def meta_graph() -> object:
    message = message_class("MetaGraphDef")()
    message.graph_def.node.add(name="x", op="Placeholder")
    return message


def write(folder: Path, message: object) -> Path:
    path = folder / "m.meta"
    path.write_bytes(message.SerializeToString())  # type: ignore[attr-defined]
    return path


@pytest.mark.parametrize("name", ["training/model.ckpt-3.meta", "training_v1/model.ckpt-3.meta"])
def test_fixtures(name: str) -> None:
    model = metagraph.read(FIXTURES / name)
    expected = message_class("MetaGraphDef").FromString((FIXTURES / name).read_bytes())
    assert model.graph is not None
    assert [n.name for n in model.graph] == [n.name for n in expected.graph_def.node]
    assert model.saver == Saver(
        expected.saver_def.restore_op_name, expected.saver_def.filename_tensor_name, expected.saver_def.save_tensor_name
    )
    assert model.tensorflow_version == expected.meta_info_def.tensorflow_version != ""
    assert model.checkpoint is None
    assert model.graph.source is not None
    assert model.graph.source.path == str(FIXTURES / name)
    opened = formats.open_model(FIXTURES / name)
    assert opened.checkpoint is not None
    assert {"conv/beta", "global_step"} & set(opened.checkpoint.variables)


def test_the_graph_inside_is_written_byte_for_byte(tmp_path: Path) -> None:
    data = (FIXTURES / "training/model.ckpt-3.meta").read_bytes()
    formats.write_graph(formats.read_graph(FIXTURES / "training/model.ckpt-3.meta"), tmp_path / "g.pb")
    assert data.count((tmp_path / "g.pb").read_bytes()) == 1


def test_signatures_collections_tags_and_assets(tmp_path: Path) -> None:
    message = meta_graph()
    signature = message.signature_def["serve"]  # type: ignore[attr-defined]
    signature.method_name = "predict"
    dense = signature.inputs["dense"]
    dense.name, dense.dtype = "x:0", 101  # a reference type
    dense.tensor_shape.dim.add(size=-1)
    signature.inputs["sparse"].coo_sparse.values_tensor_name = "sp/values:0"
    signature.outputs["ragged"].composite_tensor.components.add(name="r:1", dtype=9)
    signature.outputs["unknown"].name = "x"
    signature.outputs["unknown"].tensor_shape.unknown_rank = True
    message.collection_def["losses"].node_list.value.extend(["a:0", "b:0"])  # type: ignore[attr-defined]
    message.collection_def["variables"].bytes_list.value.append(b"\x0a\x03w:0")  # type: ignore[attr-defined]
    message.meta_info_def.tags.extend(["serve", "gpu"])  # type: ignore[attr-defined]
    asset = message.asset_file_def.add(filename="labels.txt")  # type: ignore[attr-defined]
    asset.tensor_info.name = "asset:0"
    model = metagraph.read(write(tmp_path, message))
    found = model.signatures["serve"]
    assert found.method == "predict"
    assert [(s.key, s.ref, s.dtype, s.shape) for s in found.inputs] == [
        ("dense", TensorRef("x"), DType.FLOAT, (None,)),
        ("sparse", TensorRef("sp/values"), None, None),  # a scalar's shape is written, and empty
    ]
    assert [(s.key, s.ref, s.shape) for s in found.outputs] == [
        ("ragged", TensorRef("r", 1), None),
        ("unknown", TensorRef("x"), None),
    ]
    assert model.collections == {"losses": ("a:0", "b:0")}
    assert model.tags == ("serve", "gpu")
    assert model.assets == {"labels.txt": "asset:0"}
    assert model.saver is None


@pytest.mark.parametrize("name", ["^x", "x:y", ":0", "x:" + "9" * 5000], ids=["control", "word", "empty", "long"])
def test_a_signature_with_no_tensor_name_is_the_files_fault(name: str, tmp_path: Path) -> None:
    message = meta_graph()
    message.signature_def["serve"].inputs["x"].name = name  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"m\.meta: the signature `serve` is not well formed") as caught:
        metagraph.read(write(tmp_path, message))
    assert caught.value.slug == "input"


def test_a_meta_graph_without_a_graph(tmp_path: Path) -> None:
    message = message_class("MetaGraphDef")()
    message.meta_info_def.tags.append("serve")
    with pytest.raises(WrongKindError, match="is a MetaGraphDef without a graph"):
        metagraph.read(write(tmp_path, message))


def test_damage_beside_the_graph_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, meta_graph())
    path.write_bytes(path.read_bytes() + b"\x1a\x02\x0a\x05")
    with pytest.raises(CorruptFileError, match="expected a MetaGraphDef, found bytes that are not one"):
        metagraph.read(path)


@needs_zoo
def test_a_large_one_of_2017() -> None:
    model = formats.open_model(ZOO / "meta_only/tfnet_graphs/InceptionV3.meta")
    assert model.graph is not None
    assert len(model.graph) == 11_040
    assert model.checkpoint is None
