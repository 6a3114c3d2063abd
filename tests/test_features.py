"""A folder of photos becomes a file of features: TensorFlow's own, computed once, whatever lies in the folder."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from tests.cli_calls import FIXTURES, Caller
from tfinspect.api import check_features
from tfinspect.api import features as api
from tfinspect.api.image_list import list_images
from tfinspect.api.trunk import open_trunk
from tfinspect.errors import InputError, LeakyCutError, NodeNotFoundError, RuntimeFailedError, UsageError
from tfinspect.formats import features as features_format
from tfinspect.formats import read_graph, write_graph
from tfinspect.ir.attrs import Attr
from tfinspect.ir.dtypes import DType
from tfinspect.ir.graph import Node, placeholder
from tfinspect.learn import extract as extracting
from tfinspect.learn.cache import FeatureCache
from tfinspect.learn.images import image_folder
from tfinspect.learn.job import Job
from tfinspect.learn.label_table import read_label_table
from tfinspect.learn.preprocess import Recipe
from tfinspect.learn.split import split_of
from tfinspect.learn.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GRAPH = FIXTURES / "inception_tiny.pb"
BOTTLENECK = "pool_3/_reshape"
WIDTH = 32
PHOTO = (FIXTURES / "photo.jpg").read_bytes()
BROKEN = {
    "b/cut.jpg": r"b/cut.jpg is a damaged JPEG image",
    "b/empty.png": r"empty.png is empty \(0 bytes\)",
    "b/text.gif": r"b/text.gif is no JPEG, PNG, GIF, BMP or WebP image",
    "b/huge.png": r"b/huge.png has more than 100,000,000 pixels, and is not decoded$",
}


def picture(seed: int, form: str, *, mode: str = "RGB", size: tuple[int, int] = (90, 70)) -> bytes:
    """A photo with structure at several scales, as a file of some form."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    if mode == "I;16":
        Image.fromarray(rng.integers(0, 65535, (size[1], size[0]), np.uint16)).save(file, form)
    else:
        coarse.convert(mode).save(file, form)
    return file.getvalue()


def header_of(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds nothing of it."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" * 10))
        + chunk(b"IEND", b"")
    )


def good(folder: Path, count: int = 4) -> Path:
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (folder / name / f"{i}.jpg").write_bytes(picture(ord(name) * 100 + i, "JPEG"))
    return folder


def mixed(folder: Path) -> Path:
    """Photos of every kind, and what only looks like one."""
    good(folder)
    (folder / "a/photo.jpg").write_bytes(PHOTO)
    for name, form, mode in (
        ("png.png", "PNG", "RGB"), ("alpha.png", "PNG", "RGBA"), ("deep.png", "PNG", "I;16"), ("gif.gif", "GIF", "P"),
        ("bmp.bmp", "BMP", "RGB"), ("webp.webp", "WEBP", "RGB"), ("gray.jpg", "JPEG", "L"), ("cmyk.jpg", "JPEG", "CMYK"),
    ):  # fmt: skip
        (folder / "a" / name).write_bytes(picture(len(name), form, mode=mode))
    (folder / "b/cut.jpg").write_bytes(PHOTO[:200])
    (folder / "b/empty.png").write_bytes(b"")
    (folder / "b/text.gif").write_bytes(b"hello")
    (folder / "b/huge.png").write_bytes(header_of(40_000, 40_000))
    (folder / "b/readme.txt").write_bytes(b"hello")
    (folder / "none").mkdir()
    return folder


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return Caller(monkeypatch)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all, so that the trunk is converted once."""
    return tmp_path_factory.mktemp("cache")


def words(folder: Path, output: Path, cache: Path, *more: str) -> list[str | Path]:
    return ["features", GRAPH, folder, "--bottleneck", BOTTLENECK, "-o", output, "--cache", cache, *more]


@pytest.mark.tensorflow
def test_features_of_every_kind_of_file(call: Caller, cache: Path, tmp_path: Path) -> None:
    folder = mixed(tmp_path / "photos")
    done = call(*words(folder, tmp_path / "f.npz", cache, "--json"))
    assert done.status == 0, done.err
    answer = done.answer
    assert (answer["schema"], answer["images"], answer["computed"], answer["cached"]) == (
        "tfinspect/features/1",
        17,
        17,
        0,
    )
    assert (answer["width"], answer["classes"], answer["bottleneck"]) == (WIDTH, ["a", "b"], "pool_3/_reshape:0")
    assert [one["file"] for one in answer["skipped"]] == sorted(BROKEN)
    assert sum(answer["splits"].values()) == 17
    assert answer["recipe"]["origin"] == "graph"
    assert answer["agreement"]["max_abs"] <= answer["agreement"]["tolerance"]
    assert answer["agreement"]["varies"]
    assert answer["warnings"] == [
        "class folder `none` has no images",
        "1 file left out, no images by name: b/readme.txt",
    ]
    found = features_format.read(tmp_path / "f.npz")
    assert found.files == tuple(sorted(found.files))
    assert [found.classes[label] for label in found.labels] == [name[0] for name in found.files]
    assert found.split == tuple(split_of(name) for name in found.files)
    assert found.made["skipped"] == sorted(BROKEN)
    assert found.made["trunk_sha256"] == answer["trunk_sha256"]
    assert np.ptp(found.features, axis=0).max() > 0.01
    # each file as TensorFlow itself computes it, from its bytes where its op takes them
    rows = dict(zip(found.files, found.features, strict=True))
    for name, row in rows.items():
        assert row == pytest.approx(oracle(folder, rows)[name], abs=answer["agreement"]["tolerance"]), name

    again = call(*words(folder, tmp_path / "g.npz", cache, "--json"))
    assert (again.answer["computed"], again.answer["cached"]) == (0, 17)
    first, second = (features_format.read(tmp_path / name) for name in ("f.npz", "g.npz"))
    assert (first.features == second.features).all()
    (folder / "a/0.jpg").rename(folder / "b/renamed.jpg")
    moved = call(*words(folder, tmp_path / "h.npz", cache, "--json"))
    assert (moved.answer["computed"], moved.answer["cached"]) == (0, 17)


_oracle: dict[Path, dict[str, Any]] = {}


def oracle(folder: Path, names: Any) -> dict[str, Any]:
    """What TensorFlow makes of the files: JPEG in its own decoder, the others through its decode_image."""
    if folder not in _oracle:
        script = (
            "import os, sys, json\nos.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'\nimport numpy as np, tensorflow as tf\n"
            "v1 = tf.compat.v1\ngraph, folder, target, *names = sys.argv[1:]\n"
            "found = {}\nwith tf.Graph().as_default(), v1.Session() as session:\n"
            "    tf.import_graph_def(v1.GraphDef.FromString(open(graph, 'rb').read()), name='')\n"
            "    for name in names:\n"
            "        data = open(os.path.join(folder, name), 'rb').read()\n"
            "        if name.endswith('.jpg'):\n"
            "            feed = {'DecodeJpeg/contents:0': data}\n"
            "        else:\n"
            "            from PIL import Image\n"
            "            from tfinspect.learn.images import decode\n"
            "            feed = {'DecodeJpeg:0': decode(data, name)}\n"
            "        found[name] = session.run('pool_3/_reshape:0', feed).reshape(-1)\n"
            "np.savez(target, **{n.replace('/', '|'): v for n, v in found.items()})\n"
        )
        target = folder.parent / "oracle.npz"
        arguments = [sys.executable, "-c", script, str(GRAPH), str(folder), str(target), *names]
        subprocess.run(arguments, check=True, capture_output=True, cwd=FIXTURES.parent)
        with np.load(target) as archive:
            _oracle[folder] = {key.replace("|", "/"): archive[key] for key in archive.files}
    return _oracle[folder]


@pytest.mark.tensorflow
def test_what_is_said_to_a_person(call: Caller, cache: Path, tmp_path: Path) -> None:
    folder = mixed(tmp_path / "photos")
    done = call(*words(folder, tmp_path / "f.npz", cache))
    assert done.status == 0, done.err
    facts = {row[0]: row[1:] for row in done.rows}
    assert facts["features"][0].startswith("match TensorFlow's on 6 images: largest deviation ")
    assert facts["images"][0].startswith(("0 from the cache, 17 computed, ", "17 from the cache, 0 computed, "))
    assert facts["width"] == ["32"]
    lines = done.err.splitlines()
    skipped = [line for line in lines if line.startswith("warning: skipped ")]
    assert len(skipped) == len(BROKEN)
    for line, (name, reason) in zip(skipped, sorted(BROKEN.items()), strict=True):
        assert line.startswith(f"warning: skipped {name}: ")
        assert re.search(reason, line)
    assert lines[-1] == f"wrote {tmp_path / 'f.npz'} (17 images, 32 features each)"
    quiet = call(*words(folder, tmp_path / "f.npz", cache, "-q", "-f"))
    assert quiet.status == 0
    assert "wrote" not in quiet.err
    planned = call(*words(folder, tmp_path / "none.npz", cache, "-n"))
    assert planned.rows[0] == ["images", "17 from the cache, 4 to compute"]
    assert not (tmp_path / "none.npz").exists()
    exists = call(*words(folder, tmp_path / "f.npz", cache))
    assert (exists.status, exists.err.splitlines()[0]) == (5, f"error: {tmp_path / 'f.npz'} exists")


@pytest.mark.tensorflow
def test_tensorflow_computes_the_same(cache: Path, tmp_path: Path) -> None:
    folder = good(tmp_path / "photos")
    reports = [
        api.features(GRAPH, folder, tmp_path / f"{name}.npz", bottleneck=BOTTLENECK, runtime=name, cache=cache, batch=3)
        for name in ("onnxruntime", "tensorflow")
    ]
    assert [report.made["runtime"] for report in reports] == ["onnxruntime", "tensorflow"]
    first, second = (features_format.read(report.output) for report in reports)
    assert reports[0].agreement is not None
    assert first.features == pytest.approx(second.features, abs=reports[0].agreement.tolerance)
    assert (first.features != second.features).any()


def own_way(graph: Any) -> Any:
    """The same graph, resizing in a way that is not computed here."""
    nodes = []
    for node in graph.nodes:
        if node.op == "ResizeBilinear":
            attrs = {"T": node.attrs["T"], "align_corners": Attr.of(value=False)}
            nodes.append(Node(node.name, "ResizeBicubic", tuple(node.inputs), attrs))
        else:
            nodes.append(node)
    return graph.replace(nodes=nodes)


@pytest.mark.tensorflow
def test_a_graph_that_resizes_in_a_way_of_its_own_runs_in_tensorflow(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "bicubic.pb"
    write_graph(own_way(read_graph(GRAPH)), path)
    folder = good(tmp_path / "photos", 2)
    (folder / "a/png.png").write_bytes(picture(3, "PNG"))
    (folder / "b/cut.jpg").write_bytes(PHOTO[:200])
    report = api.features(path, folder, tmp_path / "f.npz", bottleneck=BOTTLENECK, cache=cache)
    assert (report.images, [failure.name for failure in report.skipped]) == (5, ["b/cut.jpg"])
    assert report.made["runtime"] == "tensorflow"
    assert report.made["preprocessing"] is None
    assert report.notes[-1] == (
        "the graph prepares images in a way of its own behind `DecodeJpeg:0`: TensorFlow runs it, one at a time"
    )
    assert np.ptp(features_format.read(tmp_path / "f.npz").features, axis=0).max() > 0.01


@pytest.mark.tensorflow
def test_features_that_differ_are_not_written(
    call: Caller, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = good(tmp_path / "photos")
    other = tmp_path / "cache"
    plain = Recipe.apply
    monkeypatch.setattr(Recipe, "apply", lambda self, pixels: plain(self, pixels)[..., ::-1].copy())
    done = call(*words(folder, tmp_path / "f.npz", other))
    assert done.status == 1
    assert done.rows[0][1].startswith("differ from TensorFlow's on 6 images: largest deviation ")
    assert "nothing was written; let TensorFlow compute them: --runtime tensorflow" in done.err
    assert not (tmp_path / "f.npz").exists()
    assert not list(other.glob("features/*/*.rows"))
    monkeypatch.undo()
    assert call(*words(folder, tmp_path / "f.npz", other)).status == 0


@pytest.mark.tensorflow
def test_a_kill_and_ctrl_c_keep_what_was_computed(cache: Path, tmp_path: Path) -> None:
    folder = good(tmp_path / "photos", 300)
    environment = {**os.environ, "PYTHONPATH": str(FIXTURES.parent)}
    command = [sys.executable, "-m", "tfinspect", *map(str, words(folder, tmp_path / "f.npz", cache, "--batch", "4"))]

    def rows() -> int:
        trunk = open_trunk(GRAPH, bottleneck=BOTTLENECK)
        with FeatureCache(cache / "features" / trunk.key("onnxruntime")) as kept:
            return len(kept)

    for number, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)):
        before = rows()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until = time.monotonic() + 60
        while rows() < before + 8 and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == status, errors
        assert errors.decode().strip() == ""
        assert rows() >= before + 8
        assert not (tmp_path / "f.npz").exists()
        assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]  # noqa: PTH208 - names are wanted
    there = rows()
    report = api.features(GRAPH, folder, tmp_path / "f.npz", bottleneck=BOTTLENECK, cache=cache)
    assert report.cached >= 16
    assert report.computed <= 600 - 16
    assert rows() >= there


FULL = """
import resource, signal, sys
from tfinspect.cli.app import run
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(run(sys.argv[2:]))
"""


@pytest.mark.tensorflow
def test_a_full_disk_leaves_nothing(cache: Path, tmp_path: Path) -> None:
    folder = good(tmp_path / "photos")
    assert api.features(GRAPH, folder, tmp_path / "f.npz", bottleneck=BOTTLENECK, cache=cache).images == 8
    arguments = [*map(str, words(folder, tmp_path / "g.npz", cache))]
    done = subprocess.run(
        [sys.executable, "-c", FULL, "512", *arguments],
        capture_output=True,
        text=True,
        cwd=FIXTURES.parent,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert f"error: {tmp_path / 'g.npz'} cannot be written: file too large" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.npz", "photos"]


# what is wrong without any runtime


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        (["--bottleneck", "pool_3/_reshap"], 2, "no node named `pool_3/_reshap`"),
        (["--size", "big"], 2, "`--size` takes 224 or HEIGHTxWIDTH as 192x256, not `big`"),
        (["--size", "99"], 2, "the graph decodes and prepares images by itself (`DecodeJpeg:0`), so --size has no place"),
        (["--limit", "0"], 2, "--limit 0 leaves no images"),
        (["--batch", "0"], 2, "--batch and --workers take numbers from 1 up"),
        (["--test", "0.9", "--validation", "0.1"], 2, "shares of 0.1 for validation and 0.9 for test leave nothing to train on"),
        (["--no-cache"], 2, "--cache and --no-cache contradict each other"),
        (["--runtime", "numpy"], 2, "`--runtime` takes onnxruntime or tensorflow, not `numpy`"),
        (["--labels", "absent.csv"], 3, "absent.csv cannot be read: no such file or directory"),
        (["-o", "nowhere/f.npz"], 5, "nowhere is not a folder"),
    ],
)  # fmt: skip
def test_wrong_words(call: Caller, tmp_path: Path, more: list[str], status: int, message: str) -> None:
    done = call(*words(good(tmp_path / "photos", 3), tmp_path / "f.npz", tmp_path / "cache", *more))
    assert done.status == status, done.err
    assert done.err.splitlines()[0] == f"error: {message}" or done.err.startswith(f"error: {message}")
    assert not (tmp_path / "f.npz").exists()


@pytest.mark.parametrize(
    ("make", "status", "message"),
    [
        (lambda _: None, 3, "{0} does not exist"),
        (lambda f: f.write_bytes(b""), 3, "{0} is not a folder"),
        (lambda f: f.mkdir(), 2, "{0} has no images in sub-folders"),
        (lambda f: (f / "a").mkdir(parents=True), 2, "{0} has no images in sub-folders"),
        (lambda f: (good(f), *(p.unlink() for p in (f / "b").iterdir())), 2, "{0} has images of one class only, `a`; there is nothing to tell apart"),
    ],
)  # fmt: skip
def test_wrong_folders(call: Caller, tmp_path: Path, make: Callable[[Path], object], status: int, message: str) -> None:
    folder = tmp_path / "photos"
    make(folder)
    done = call(*words(folder, tmp_path / "f.npz", tmp_path / "cache"))
    assert (done.status, done.err.splitlines()[0]) == (status, f"error: {message.format(folder)}")


def test_few_images_are_warned_of(tmp_path: Path) -> None:
    folder = good(tmp_path / "photos", 2)
    (folder / "a/2.jpg").write_bytes(PHOTO)
    (folder / "c").mkdir()
    images = list_images(folder)
    assert images.warnings == (
        "class folder `c` has no images",
        "class `b` has 2 images; that is too few to learn from and to test on",
    )
    limited = list_images(folder, limit=3)
    assert [file.name for file in limited.files] == ["a/0.jpg", "a/1.jpg", "b/0.jpg"]
    assert [one.split(" ")[3] for one in limited.warnings[1:]] == ["2", "1"]


def test_further_inputs_must_be_fixed() -> None:
    graph = read_graph(GRAPH)
    nodes = [*graph.nodes, placeholder("shift", DType.FLOAT, (1, WIDTH)), Node("sum", "Add", (BOTTLENECK, "shift"), {"T": Attr.of(DType.FLOAT)})]  # fmt: skip
    with pytest.raises(UsageError, match=r"^beside the image the graph needs `shift:0`\n") as caught:
        open_trunk(graph.replace(nodes=nodes), bottleneck="sum")
    assert caught.value.hint == "fix it: --set shift=VALUE"
    nodes[-2] = placeholder("shift", DType.FLOAT, ())
    trunk = open_trunk(graph.replace(nodes=nodes), bottleneck="sum", settings=["shift=2"])
    assert str(trunk.ready) == "Mul:0"


def test_the_key_of_a_trunk() -> None:
    trunk = open_trunk(GRAPH, bottleneck=BOTTLENECK)
    assert trunk.key("onnxruntime") != trunk.key("tensorflow")
    assert trunk.key("onnxruntime") == open_trunk(read_graph(GRAPH), bottleneck=BOTTLENECK + ":0").key("onnxruntime")
    assert trunk.sha256 != open_trunk(GRAPH, bottleneck="pool_3").sha256
    with pytest.raises(NodeNotFoundError) as caught:
        open_trunk(GRAPH, bottleneck="pool_3/reshape")
    assert "pool_3/_reshape" in caught.value.near
    assert issubclass(LeakyCutError, Exception)


# the pipeline, with a trunk of NumPy


def mean(batch: Any) -> Any:
    return batch.mean(axis=(1, 2))


def test_only_what_is_new_is_computed_and_in_order(tmp_path: Path) -> None:
    folder = good(tmp_path / "photos", 6)
    (folder / "a/copy.jpg").write_bytes((folder / "b/3.jpg").read_bytes())
    (folder / "b/cut.jpg").write_bytes(PHOTO[:100])
    (folder / "b/gone.jpg").symlink_to("nowhere")
    files = image_folder(folder).files
    ran = []

    def run(batch: Any) -> Any:
        ran.append(len(batch))
        return mean(batch)

    loaded: list[int] = []
    worker = Worker(Job("", "x:0", "y:0", Recipe((4, 4)), batch=5), run, lambda: loaded.append(len(ran)))
    told: list[tuple[int, int, int]] = []
    with FeatureCache(tmp_path / "cache") as kept:
        done = extracting.extract(
            files, kept, worker, workers=3, progress=lambda p: told.append((p.done, p.computed, p.cached))
        )
        assert (done.computed, done.cached, len(ran)) == (12, 1, 3)
        assert loaded == [0]
        assert done.loading > 0
        assert [failure.name for failure in done.failures] == ["b/cut.jpg", "b/gone.jpg"]
        assert done.failures[1].reason == f"{folder / 'b/gone.jpg'} cannot be read: no such file or directory"
        assert told[-1] == (15, 12, 1)
        keys = [key for key in done.keys if key is not None]
        rows = np.concatenate(list(kept.rows(keys)))
        names = [file.name for file, key in zip(files, done.keys, strict=True) if key is not None]
        for name, row in zip(names, rows, strict=True):
            (one,) = worker([(name, (folder / name).read_bytes())])
            assert (one.features == row).all(), name  # type: ignore[union-attr]
        ran.clear()
        again = extracting.extract(files, kept, worker, workers=3)
        assert (again.computed, again.cached, ran) == (0, 13, [])
        assert (loaded, again.loading) == ([0], 0)


def test_memory_is_bounded(tmp_path: Path) -> None:
    """No more images are decoded ahead than a few batches, however slow the runtime is."""
    folder = good(tmp_path / "photos", 40)
    decoded: list[str] = []
    ahead: list[int] = []

    class Slow(Worker):
        def prepare(self, name: str, data: bytes) -> Any:
            decoded.append(name)
            return super().prepare(name, data)

        def compute(self, images: Any) -> Any:
            time.sleep(0.05)
            ahead.append(len(decoded) - 4 * len(ahead))
            return super().compute(images)

    worker = Slow(Job("", "x:0", "y:0", Recipe((4, 4)), batch=4), mean)
    with FeatureCache(tmp_path / "cache") as kept:
        extracting.extract(image_folder(folder).files, kept, worker, workers=2)
    assert len(ahead) == 20
    assert max(ahead) <= 4 + 4 * 2 + 2


def test_a_runtime_that_dies_keeps_the_batches_before(tmp_path: Path) -> None:
    folder = good(tmp_path / "photos", 6)
    calls = []

    def run(batch: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeFailedError("it died")
        return mean(batch)

    worker = Worker(Job("", "x:0", "y:0", Recipe((4, 4)), batch=4), run)
    with FeatureCache(tmp_path / "cache") as kept, pytest.raises(RuntimeFailedError, match=r"^it died$"):
        extracting.extract(image_folder(folder).files, kept, worker, workers=2)
    with FeatureCache(tmp_path / "cache") as kept:
        assert len(kept) == 8


def test_what_was_verified_is_remembered_by_this_version_only(tmp_path: Path) -> None:
    found = check_features.Agreement(3, 1e-6, 1e-4, varies=True, worst="a", runtime="tensorflow 2")
    assert check_features.remembered(tmp_path) is None
    check_features.remember(tmp_path, found)
    assert check_features.remembered(tmp_path) == found
    place = tmp_path / "verified.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "tfinspect": "0.0.0"}))
    assert check_features.remembered(tmp_path) is None
    place.write_text("[1]")
    assert check_features.remembered(tmp_path) is None


# labels from a table


def table(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return read_label_table(path, tmp_path)


def test_tables_of_labels(tmp_path: Path) -> None:
    one = table(tmp_path, "file,label\nx/a.jpg,rose\nb.jpg,tulip\nc.jpg,rose\n")
    assert (one.classes, one.labels.tolist(), [f.name for f in one.files]) == (
        ("rose", "tulip"), [0, 1, 0], ["x/a.jpg", "b.jpg", "c.jpg"],
    )  # fmt: skip
    assert [f.label for f in one.files] == [0, 1, 0]
    several = table(tmp_path, "file,label\na.jpg,red|big\nb.jpg,\nc.jpg,big\n")
    assert (several.classes, several.labels.tolist()) == (("big", "red"), [[1, 1], [0, 0], [1, 0]])
    flags = table(tmp_path, "file,red,big\na.jpg,1,0\nb.jpg,0,1\n")
    assert (flags.classes, flags.labels.tolist(), flags.labels.dtype) == (("red", "big"), [[1, 0], [0, 1]], np.int64)
    amounts = table(tmp_path, "file,angle\na.jpg,0.5\nb.jpg,-2\n")
    assert (amounts.classes, amounts.labels.tolist(), amounts.labels.dtype) == (("angle",), [0.5, -2], np.float32)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"needs a header of two columns or more: file,label$"),
        ("file,label\n", r"has no rows$"),
        ("file,label\na.jpg\n", r"has 1 cells in line 2 and 2 in its header$"),
        ("file,label\n../a.jpg,x\nb.jpg,y\n", r"names `../a.jpg` in line 2, which is no file of the folder$"),
        ("file,label\n/a.jpg,x\nb.jpg,y\n", r"names `/a.jpg` in line 2, which is no file of the folder$"),
        ("file,label\na.jpg,x\n./a.jpg,y\n", r"has `a.jpg` in line 2 and again in line 3$"),
        ("file,x,y\na.jpg,1,z\n", r"has `z` in line 2, where a number was expected$"),
        ("file,x,y\na.jpg,1,nan\n", r"has `nan` in line 2, where a number was expected$"),
        ('file,label\n"a.jpg,x\n', r"is no table: "),
    ],
)
def test_damaged_tables(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        table(tmp_path, text)


def test_a_table_with_one_label_only(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has 1 label only; there is nothing to tell apart$"):
        table(tmp_path, "file,label\na.jpg,x\nb.jpg,x\n")
