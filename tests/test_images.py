"""Photos become the pixels, and the pixels the values, that TensorFlow's own ops make of them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from tests.cli_calls import FIXTURES, ZOO
from tfinspect.errors import FileMissingError, InputError, LimitError, UsageError
from tfinspect.learn import images
from tfinspect.learn.preprocess import Recipe, resize

if TYPE_CHECKING:
    from pathlib import Path

PHOTOS = [FIXTURES / "photo.jpg"] + (
    [*sorted((ZOO / "flower_photos").rglob("*.jpg"))[::40], *sorted((ZOO / "images").rglob("*.jpg"))]
    if ZOO.is_dir()
    else []
)
# what TensorFlow's DecodeJpeg refuses
BROKEN = {"corrupt.jpg", "corrupt34_2.jpg", "corrupt34_3.jpg", "corrupt34_4.jpg"}
CMYK = "jpeg_merge_test1_cmyk.jpg"
RESIZES = [
    (method, align, half, size)
    for method in ("bilinear", "nearest")
    for align, half in ((False, False), (True, False), (False, True))
    for size in ((7, 5), (13, 20), (31, 64), (1, 1))
]
ORACLE = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np, tensorflow as tf
found = {}
for line in open(sys.argv[1]).read().splitlines():
    data = open(line, "rb").read()
    for channels in (3, 1):
        try:
            found[f"{channels} {line}"] = tf.io.decode_jpeg(data, channels=channels).numpy()
        except tf.errors.InvalidArgumentError:
            pass
image = np.load(sys.argv[2])[None].astype("f4")
for row in eval(sys.argv[3]):
    method, align, half, size = row
    op = tf.raw_ops.ResizeBilinear if method == "bilinear" else tf.raw_ops.ResizeNearestNeighbor
    found["resize " + repr(row)] = op(images=image, size=size, align_corners=align, half_pixel_centers=half).numpy()[0]
np.savez(sys.argv[4], **found)
"""


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("oracle")
    (folder / "names").write_text("\n".join(map(str, PHOTOS)))
    np.save(folder / "image.npy", _image())
    command = [sys.executable, "-c", ORACLE, folder / "names", folder / "image.npy", repr(RESIZES), folder / "out.npz"]
    subprocess.run(command, check=True, capture_output=True)
    with np.load(folder / "out.npz") as found:
        return dict(found)


def _image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (29, 17, 3), dtype=np.uint8)


@pytest.mark.tensorflow
@pytest.mark.parametrize("path", PHOTOS, ids=lambda p: p.name)
@pytest.mark.parametrize("channels", [3, 1])
def test_jpeg_is_what_decode_jpeg_makes_of_it(path: Path, channels: int, oracle: dict[str, Any]) -> None:
    expected = oracle.get(f"{channels} {path}")
    if path.name in BROKEN:
        assert expected is None
        with pytest.raises(InputError, match=f"{path.name} is a damaged JPEG image: "):
            images.decode(path.read_bytes(), str(path), channels=channels)
        return
    found = images.decode(path.read_bytes(), str(path), channels=channels)
    if path.name == CMYK and channels == 1:  # TensorFlow makes no grey of it
        assert expected is None
        assert found.shape == (256, 128, 1)
        return
    assert expected is not None
    assert found.shape == expected.shape
    if path.name == CMYK:  # Pillow's colour conversion rounds otherwise
        assert np.abs(found.astype(int) - expected).mean() < 4
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.tensorflow
@pytest.mark.parametrize("row", RESIZES, ids=str)
def test_resizing_is_what_the_op_computes(row: tuple[str, bool, bool, tuple[int, int]], oracle: dict[str, Any]) -> None:
    method, align, half, size = row
    recipe = Recipe(size, method, align, half)
    found = resize(_image(), recipe)
    expected = oracle["resize " + repr(row)]
    assert found.shape == expected.shape
    if method == "nearest":
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)  # of 255; the kernel fuses multiply and add


def _saved(mode: str, kind: str, **options: Any) -> bytes:
    array = _image()
    image = (
        Image.fromarray(array).convert(mode) if mode != "I;16" else Image.fromarray(array[..., 0].astype("u2") * 256)
    )
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGB", "PNG", {}), ("L", "PNG", {}), ("RGBA", "PNG", {}), ("P", "GIF", {}), ("RGB", "BMP", {}),
        ("RGB", "WEBP", {"lossless": True}), ("I;16", "PNG", {}),
    ],
)  # fmt: skip
def test_other_kinds_of_image(mode: str, kind: str, options: dict[str, Any]) -> None:
    found = images.decode(_saved(mode, kind, **options), "x")
    assert (found.shape, found.dtype) == ((29, 17, 3), np.uint8)
    if mode == "RGB":
        np.testing.assert_array_equal(found, _image())
    if mode == "I;16":
        np.testing.assert_array_equal(found[..., 0], _image()[..., 0])
    assert images.decode(_saved(mode, kind, **options), "x", channels=1).shape == (29, 17, 1)


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.fromarray(np.full((4, 6, 3), value, np.uint8)) for value in (10, 200)]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    assert int(images.decode(stream.getvalue(), "x").max()) == 10


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP", "JPEG"])
def test_a_truncated_image_is_damaged(kind: str) -> None:
    data = _saved("RGB", kind)
    with pytest.raises(InputError, match=r"^photo is a damaged \w+ image: ."):
        images.decode(data[: len(data) * 2 // 3], "photo")


def test_what_is_no_image_is_said_to_be_none() -> None:
    with pytest.raises(InputError, match=r"^notes.txt is no JPEG, PNG, GIF, BMP or WebP image$"):
        images.decode(b"words", "notes.txt")


def test_a_huge_image_is_refused_before_memory_is_taken() -> None:
    header = _saved("RGB", "PNG")[:16] + (60_000).to_bytes(4, "big") * 2 + _saved("RGB", "PNG")[24:]
    with pytest.raises((LimitError, InputError), match=r"pixels|damaged PNG"):
        images.decode(header, "huge.png")
    bitmap = bytearray(_saved("RGB", "BMP"))
    bitmap[18:26] = (60_000).to_bytes(4, "little") * 2
    with pytest.raises(LimitError, match=r"^huge.bmp has more than 100,000,000 pixels, and is not decoded$"):
        images.decode(bytes(bitmap), "huge.bmp")
    bitmap[18:26] = (12_000).to_bytes(4, "little") * 2
    with pytest.raises(
        LimitError, match=r"^big.bmp has 12,000 x 12,000 pixels; more than 100,000,000 are not decoded$"
    ):
        images.decode(bytes(bitmap), "big.bmp")


def test_a_folder_is_a_class(tmp_path: Path) -> None:
    for name in ("roses/b.jpg", "roses/deep/a.PNG", "daisy/c.jpeg", "daisy/readme.txt", ".hidden/x.jpg", "loose.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = images.image_folder(tmp_path)
    assert found.classes == ("daisy", "roses")
    assert [(f.name, f.label) for f in found.files] == [
        ("daisy/c.jpeg", 0),
        ("roses/b.jpg", 1),
        ("roses/deep/a.PNG", 1),
    ]
    assert found.ignored == ("daisy/readme.txt",)


def test_a_header_that_nothing_reads_is_said_so() -> None:
    with pytest.raises(InputError, match=r"^photo is a damaged JPEG image: its header cannot be read$"):
        images.decode(b"\xff\xd8\xff" + b"x" * 50, "photo")


def test_folders_without_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match=r"gone does not exist$"):
        images.image_folder(tmp_path / "gone")
    (tmp_path / "x.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"has no images in sub-folders"):
        images.image_folder(tmp_path)
    (tmp_path / "roses").mkdir()
    (tmp_path / "roses" / "x.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"of one class only, `roses`; there is nothing to tell apart"):
        images.image_folder(tmp_path)


def test_reading_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(InputError, match=r"empty.jpg is empty \(0 bytes\)"):
        images.read_image(tmp_path / "empty.jpg")
    with pytest.raises(FileMissingError, match=r"cannot be read: no such file or directory"):
        images.read_image(tmp_path / "gone.jpg")
    with pytest.raises(FileMissingError, match=r"cannot be read: is a directory|is not a regular file"):
        images.read_image(tmp_path)


def test_a_recipe_survives_being_written_down() -> None:
    recipe = Recipe((128, 96), align_corners=True, mean=(1.0, 2.0, 3.0), scale=(0.5,), bgr=True, origin="graph")
    found = Recipe.from_json(json.loads(json.dumps(recipe.to_json())), "x")
    assert found.origin == "model"
    pixels = _image()
    np.testing.assert_array_equal(found.apply(pixels), recipe.apply(pixels))
    assert recipe.apply(pixels).shape == (128, 96, 3)
    for broken in ({}, {**recipe.to_json(), "channels": 7}, {**recipe.to_json(), "size": "big"}):
        with pytest.raises(InputError, match=r"^x has (no|a) preprocessing"):
            Recipe.from_json(broken, "x")
