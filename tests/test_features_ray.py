"""Features over Ray: the same rows as on one machine, whoever computes them and whoever dies."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tests.cli_calls import Caller
from tfinspect import runtimes
from tfinspect.api import features_ray
from tfinspect.errors import FileMissingError, RuntimeFailedError, RuntimeUnavailableError, UsageError
from tfinspect.learn.cache import FeatureCache
from tfinspect.learn.extract import extract
from tfinspect.learn.images import image_folder
from tfinspect.learn.job import Job
from tfinspect.learn.preprocess import Recipe
from tfinspect.learn.remote import Place, is_url
from tfinspect.learn.worker import Failure, Worker
from tfinspect.runtimes import ray_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfinspect.learn.extract import Extraction, Progress

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="ray is not installed: pip install 'tfinspect[ray]'")
SIZE, BATCH = 48, 4


def write_trunk(path: Path) -> Path:
    """Two convolutions and a dense layer, of random weights: enough that rounding would show."""
    rng = np.random.default_rng(7)
    shapes = {"a": (16, 3, 5, 5), "b": (32, 16, 3, 3), "c": (32, 40)}
    weights = [numpy_helper.from_array(rng.normal(0, 0.2, s).astype(np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("Transpose", ["input:0"], ["x"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x", "a"], ["y"], strides=[2, 2]),
        helper.make_node("Relu", ["y"], ["z"]),
        helper.make_node("Conv", ["z", "b"], ["u"], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["u"], ["v"]),
        helper.make_node("Flatten", ["v"], ["w"]),
        helper.make_node("MatMul", ["w", "c"], ["pool:0"]),
    ]
    graph = helper.make_graph(
        nodes, "trunk",
        [helper.make_tensor_value_info("input:0", TensorProto.FLOAT, ["n", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("pool:0", TensorProto.FLOAT, ["n", 40])],
        weights,
    )  # fmt: skip
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def write_photos(folder: Path, count: int) -> Path:
    """Three classes of noise in several formats; broken ones, an empty one and two of the same content among them."""
    rng = np.random.default_rng(3)
    for i in range(count):
        place = folder / ("daisy", "roses/wild", "tulips")[i % 3]
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (20 + i % 7, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((90, 70)).save(place / f"{i:03}.{('jpg', 'png', 'gif')[i % 3]}")
    (folder / "daisy/005.jpg").write_bytes((folder / "daisy/000.jpg").read_bytes())
    (folder / "daisy/damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (folder / "tulips/empty.png").write_bytes(b"")
    (folder / "tulips/notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"), 120)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    recipe = Recipe((SIZE, SIZE), mean=(127.5,), scale=(1 / 127.5,))
    return Job(str(write_trunk(tmp_path / "trunk.onnx")), "input:0", "pool:0", recipe, batch=BATCH)


def locally(photos: Path, job: Job, folder: Path) -> tuple[Extraction, Any]:
    runner = runtimes.onnx_model(job.model)
    worker = Worker(job, lambda batch: runner.run([job.output], {job.input: batch})[0])
    with FeatureCache(folder) as cache:
        done = extract(image_folder(photos).files, cache, worker, workers=2)
        return done, rows_of(done, cache)


def rows_of(done: Extraction, cache: FeatureCache) -> Any:
    return np.concatenate(list(cache.rows([key for key in done.keys if key is not None])))


def test_a_folder_behind_a_url_has_the_same_names_in_the_same_order(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    names = ["b/a.jpg", "b/sub/a.jpg", "b/sub-x/b.png", "b/z.jpg", "b/.hidden.jpg", "a/Sub/1.jpg", "a/1.jpg", "a/x.txt",
             ".git/x.jpg", "a b/ü.webp", "top.jpg", "b/sub/.deep/k.gif"]  # fmt: skip
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            file.write(folder / name, f"in/{name}")
    wanted = image_folder(folder)
    urls = [str(folder), f"file://{folder}"]
    if importlib.util.find_spec("fsspec") is not None:
        urls += [f"zip://in::{archive}", f"zip://in::file://{archive}"]
    for url in urls:
        place = Place(url)
        found = place.folder()
        assert [(f.name, f.label) for f in found.files] == [(f.name, f.label) for f in wanted.files]
        assert (found.classes, sorted(found.ignored)) == (wanted.classes, sorted(wanted.ignored))
        assert [place.read(f.path) for f in found.files] == [f.name.encode() for f in wanted.files]
        assert place.local
        assert not place.private


@pytest.mark.parametrize(
    ("url", "cls", "message"),
    [
        ("nosuch://bucket/photos", UsageError, "nosuch://bucket/photos is of a kind that fsspec does not know"),
        ("file:///nowhere/photos", FileMissingError, "/nowhere/photos does not exist"),
        ("memory://nowhere", FileMissingError, "memory://nowhere is not a folder"),
        ("zip://in::/nowhere.zip", FileMissingError, "zip://in::/nowhere.zip cannot be opened: [Errno 2] No such file or directory: '/nowhere.zip'"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_line(url: str, cls: type[Exception], message: str) -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(cls) as caught:
        Place(url).folder()
    assert str(caught.value) == message


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(RuntimeUnavailableError) as caught:
        Place("s3://bucket/photos")
    assert str(caught.value) == "s3://bucket/photos cannot be opened: Install s3fs to access S3"
    assert caught.value.hint == "pip install s3fs"


def test_a_place_without_classes(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe("/loose/a.jpg", b"x")
    with pytest.raises(UsageError, match=r"^memory://loose has no images in sub-folders\n1 images stand in"):
        Place("memory://loose").folder()
    memory.pipe("/single/daisy/a.jpg", b"x")
    with pytest.raises(UsageError, match=r"^memory://single has images of one class only, `daisy`"):
        Place("memory://single").folder()


def test_a_folder_with_a_strange_name_is_no_url(tmp_path: Path) -> None:
    (tmp_path / "s3::x").mkdir()
    assert not is_url(tmp_path / "s3::x")
    assert not is_url("photos")
    assert is_url("s3://bucket")
    assert is_url("simplecache::s3://bucket")


def test_without_ray_the_command_that_installs_it(
    photos: Path, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    runtimes.shutdown()
    with FeatureCache(tmp_path / "cache") as cache, pytest.raises(RuntimeUnavailableError) as caught:
        features_ray.extract(image_folder(photos).files, Place(photos), cache, job)
    assert str(caught.value) == "--engine ray needs ray, which is not installed"
    assert caught.value.hint == "pip install 'tfinspect[ray]'"


def test_local_files_and_a_cluster_that_does_not_see_them(
    photos: Path, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with (
        FeatureCache(tmp_path / "cache") as cache,
        pytest.raises(UsageError, match="a cluster behind ray://head:10001"),
    ):
        features_ray.extract(image_folder(photos).files, Place(photos), cache, job)


def test_a_block_on_a_worker(photos: Path, job: Job) -> None:
    """What a worker does, without Ray around it."""
    files = [file for file in image_folder(photos).files if file.name.startswith("daisy/")]
    assert [files[i].name for i in (0, 2, -1)] == ["daisy/000.jpg", "daisy/005.jpg", "daisy/damaged.jpg"]
    runner = runtimes.onnx_model(job.model)

    def run(name: str, output: str, feeds: dict[str, Any]) -> Any:
        assert name == "trunk.onnx"
        return runner.run([output], feeds)[0]

    params = {"folder": str(photos), "job": features_ray._job_json(job)}
    read = features_ray.reader(params)
    items = [(file.name, lambda file=file: read(file.path)) for file in files]
    none = np.empty((0, 16), np.uint8)
    result, (keys, rows) = features_ray.computer(params, [none], run)(items)
    assert result["fresh"] == [0, 1, *range(3, len(files) - 1)]
    assert rows.shape == (len(files) - 2, 40)
    ((place, reason),) = result["failures"]
    assert (place, reason[:43]) == (len(files) - 1, "daisy/damaged.jpg is a damaged JPEG image: ")
    assert keys[0].tobytes() == keys[2].tobytes()
    known = keys[result["fresh"]]
    again, (keys_again, no_rows) = features_ray.computer(params, [np.array(sorted(known.tolist()), np.uint8)], run)(
        items
    )
    assert again["fresh"] == []
    assert again["failures"] == result["failures"]
    assert no_rows.size == 0
    assert np.array_equal(keys, keys_again)


@pytest.fixture
def own_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # so that the first worker has not done everything before the second one has started
    monkeypatch.setenv("RAY_DATA_DEFAULT_WAIT_FOR_MIN_ACTORS_S", "100")
    yield
    runtimes.shutdown()


@needs_ray
@pytest.mark.ray
@pytest.mark.usefixtures("own_ray")
def test_two_workers_share_the_images_and_one_is_killed(photos: Path, job: Job, tmp_path: Path) -> None:
    wanted, rows = locally(photos, job, tmp_path / "local")
    assert [failure.name for failure in wanted.failures] == ["daisy/damaged.jpg", "tulips/empty.png"]
    files = image_folder(photos).files
    killed: list[tuple[int, int]] = []

    def kill(state: Progress) -> None:
        assert isinstance(state, features_ray.RayProgress)
        if len(state.workers) == 2 and not killed:
            (_, pid), _ = min(state.workers.items(), key=lambda item: item[1])
            thread = threading.Thread(target=os.kill, args=(pid, signal.SIGKILL))
            thread.start()
            thread.join()
            killed.append((pid, state.done))

    before = list(dict.fromkeys(key for key in wanted.keys[::9] if key is not None))
    with FeatureCache(tmp_path / "local") as local, FeatureCache(tmp_path / "ray") as cache:
        cache.add(before, np.concatenate(list(local.rows(before))))
        done = features_ray.extract(files, Place(photos), cache, job, workers=2, progress=kill)
        found = rows_of(done, cache)
    ((pid, at),) = killed
    assert at < len(files) - 2 * BATCH
    assert not Path(f"/proc/{pid}").exists()
    assert pid in [worker.pid for worker in done.workers]
    assert len(done.workers) >= 2
    assert sum(worker.images for worker in done.workers) == len(files)
    assert done.keys == wanted.keys
    assert done.failures == wanted.failures
    assert (done.computed, done.cached) == (wanted.computed - len(before), wanted.cached + len(before))
    assert found.dtype == rows.dtype == np.float32
    assert found.tobytes() == rows.tobytes()
    deadline = time.monotonic() + 20
    while (left := [*ray_processes(), *alive(done.workers)]) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []


def ray_processes() -> list[str]:
    """Ray's own processes that this one has started: the folder of their session stands in their arguments."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"tfi-{os.getpid()}-" in words:
            found.append(words)
    return found


def alive(workers: tuple[features_ray.RayWorker, ...]) -> list[str]:
    return [f"worker {worker.pid}" for worker in workers if Path(f"/proc/{worker.pid}").exists()]


GRAPH, BOTTLENECK = "inception_tiny.pb", "pool_3/_reshape"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Caller:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return Caller(monkeypatch)


def test_a_url_needs_ray(cli: Caller, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    done = cli(
        "features", GRAPH, "zip://in::/nowhere.zip", "--bottleneck", BOTTLENECK, "-o", tmp_path / "f.npz", "--json"
    )
    assert done.status == 3
    assert done.error["message"].startswith("zip://in::/nowhere.zip cannot be opened: ")
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a/1.jpg", "x")
    url = f"zip://::{archive}"
    done = cli("features", GRAPH, url, "--bottleneck", BOTTLENECK, "-o", tmp_path / "f.npz", "--json")
    assert (done.status, done.error["message"]) == (2, f"{url} is not on this machine")
    assert done.error["hint"] == "--engine ray reads it"


def test_without_ray_the_command_fails_before_it_starts(
    cli: Caller, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["features", GRAPH, photos, "--bottleneck", BOTTLENECK, "-o", tmp_path / "f.npz", "--engine", "ray"]
    done = cli(*words)
    assert (done.status, done.out) == (5, "")
    assert done.err == "error: --engine ray needs ray, which is not installed\n\nhint: pip install 'tfinspect[ray]'\n"
    done = cli(*words, "--runtime", "tensorflow", "--json")
    assert (done.status, done.error["message"]) == (2, "--engine ray runs onnxruntime only, not tensorflow")


@needs_ray
@pytest.mark.ray
@pytest.mark.usefixtures("own_ray")
def test_a_cluster_that_is_not_there(photos: Path, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with FeatureCache(tmp_path / "cache") as cache, pytest.raises(RuntimeFailedError) as caught:
        features_ray.extract(image_folder(photos).files, Place(photos), cache, job)
    assert str(caught.value) == "no Ray cluster answers at 127.0.0.1:1: connection refused"
    assert caught.value.hint == "RAY_ADDRESS names the cluster; unset it to use this machine alone"


@needs_ray
@pytest.mark.ray
@pytest.mark.tensorflow
@pytest.mark.usefixtures("own_ray")
def test_the_command_writes_the_same_file_from_an_archive(cli: Caller, photos: Path, tmp_path: Path) -> None:
    """Both engines, byte for byte; and what one has computed the other takes from the cache."""
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(photos.rglob("*.*"), reverse=True):
            file.write(path, path.relative_to(photos).as_posix())
    words = ["--bottleneck", BOTTLENECK, "--limit", "60", "--json"]
    here = cli("features", GRAPH, photos, *words, "--cache", tmp_path / "here", "-o", tmp_path / "here.npz")
    assert here.status == 0, here.err
    there = cli(
        "features", GRAPH, f"zip://::{archive}", *words, "--cache", tmp_path / "there", "-o", tmp_path / "there.npz",
        "--engine", "ray", "--workers", "2", "--batch", "8",
    )  # fmt: skip
    assert there.status == 0, there.err
    assert there.err == ""
    assert (here.answer["engine"], here.answer["workers"]) == ("local", [])
    assert there.answer["engine"] == "ray"
    assert len(there.answer["workers"]) == 2
    assert sum(worker["images"] for worker in there.answer["workers"]) == 60
    assert (tmp_path / "there.npz").read_bytes() == (tmp_path / "here.npz").read_bytes()
    again = cli("features", GRAPH, photos, *words, "--cache", tmp_path / "there", "-o", tmp_path / "again.npz")
    assert (again.status, again.answer["computed"]) == (0, 0)


WORK = """
import os, sys

def reader(params):
    return lambda path: b""

def computer(params, arrays, run):
    def die(items):
        print("last words", file=sys.stderr, flush=True)
        os._exit(3)
    return die
"""


@needs_ray
@pytest.mark.ray
@pytest.mark.usefixtures("own_ray")
def test_workers_that_always_die_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deadly_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    spread = ray_engine.Spread([("a", "a")], work="deadly_work", params={}, workers=1)
    with pytest.raises(RuntimeFailedError) as caught, spread:
        list(spread.parts())
    assert caught.value.message == "a Ray worker died, and so did those that were started in its place"
    assert "last words" in caught.value.details


def test_what_only_this_process_sees_is_copied_first(tmp_path: Path) -> None:
    memory = pytest.importorskip("fsspec").filesystem("memory")
    for name, data in {"a/1.jpg": b"one", "a/2.jpg": b"", "b/1.jpg": b"three"}.items():
        memory.pipe(f"/spooled/{name}", data)
    place = Place("memory://spooled")
    images = place.folder().files
    assert (place.private, [image.name for image in images]) == (True, ["a/1.jpg", "a/2.jpg", "b/1.jpg"])
    failures: dict[int, Failure] = {}
    numbers, paths = features_ray._spool(images, place, tmp_path, failures)
    assert numbers == [0, 2]
    assert [Path(path).read_bytes() for path in paths] == [b"one", b"three"]
    assert failures == {1: Failure("a/2.jpg", f"{images[1].path} is empty (0 bytes)")}
