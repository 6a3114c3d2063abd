"""Says what TensorFlow, h5py and the zip module make of model files; runs in a process of its own.

usage: python zoo_oracle.py < PATHS > JSON    one path a line; the answer maps each path to what was found
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


def graph(message: Any) -> dict[str, Any]:
    return {
        "nodes": [[n.name, n.op, list(n.input)] for n in message.node],
        "functions": sorted(f.signature.name for f in message.library.function),
    }


def parsed(cls: Any, path: Path) -> Any:
    from google.protobuf import text_format

    if path.suffix == ".pbtxt" or path.read_bytes()[:1].isalpha():
        return text_format.Parse(path.read_text(), cls(), allow_unknown_field=True)
    return cls.FromString(path.read_bytes())


def saved_model(path: Path) -> dict[str, Any]:
    from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

    model = parsed(saved_model_pb2.SavedModel, path)
    metas = model.meta_graphs
    served = next((m for m in metas if "serve" in m.meta_info_def.tags), metas[0])
    assets = list(served.asset_file_def)
    for packed in served.collection_def["saved_model_assets"].any_list.value:  # where TensorFlow 1 kept them
        asset = meta_graph_pb2.AssetFileDef()
        assert packed.Unpack(asset)
        assets.append(asset)
    return {
        **graph(served.graph_def),
        "tags": sorted(served.meta_info_def.tags),
        "tag_sets": [sorted(m.meta_info_def.tags) for m in metas],
        "signatures": {
            name: [sorted(s.inputs), sorted(s.outputs), s.method_name]
            for name, s in sorted(served.signature_def.items())
        },
        "assets": sorted(a.filename for a in assets),
    }


def variables(prefix: str) -> dict[str, Any]:
    import tensorflow as tf

    reader = tf.train.load_checkpoint(prefix)
    dtypes = reader.get_variable_to_dtype_map()
    return {
        "variables": {
            name: [dtypes[name].name, list(shape)] for name, shape in reader.get_variable_to_shape_map().items()
        }
    }


def datasets(path: Any) -> dict[str, Any]:
    import h5py

    found: dict[str, list[int]] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiu":
            found[name] = list(item.shape)

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return {"datasets": found}


def answer(path: Path) -> dict[str, Any]:
    from tensorflow.core.framework import graph_pb2
    from tensorflow.core.protobuf import meta_graph_pb2

    if path.name.startswith("saved_model.pb"):
        return saved_model(path)
    if path.suffix in {".pb", ".pbtxt"}:
        return graph(parsed(graph_pb2.GraphDef, path))
    if path.suffix == ".meta":
        return graph(parsed(meta_graph_pb2.MetaGraphDef, path).graph_def)
    if path.suffix == ".index":
        return variables(str(path.with_suffix("")))
    if path.suffix in {".h5", ".hdf5"}:
        return datasets(path)
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as member:
            return datasets(member)
    return variables(str(path))


def main() -> None:
    found = {}
    for line in sys.stdin.read().splitlines():
        try:
            found[line] = answer(Path(line))
        except Exception as error:  # noqa: BLE001 - whatever the reference refuses is its answer
            found[line] = {"refused": f"{type(error).__name__}: {error}"[:200]}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
