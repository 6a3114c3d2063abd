"""Labels and probabilities for photos, from whatever model takes them."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from tfinspect.api import proof
from tfinspect.api.labels import check_labels, read_labels
from tfinspect.api.photo_models import Wishes, open_photo_model
from tfinspect.api.usual_pixels import UNKNOWN, formula
from tfinspect.errors import FileMissingError, InputError, LimitError, RuntimeFailedError, UsageError
from tfinspect.formats import _atomic
from tfinspect.ir.dtypes import DType
from tfinspect.learn.images import SUFFIXES, decode, encode_png, kind, read_image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    import numpy as np
    import numpy.typing as npt

    from tfinspect.api.load import PathLike
    from tfinspect.api.photo_models import PhotoModel
    from tfinspect.ir.runner import Runner
    from tfinspect.learn.preprocess import Recipe

    Array = npt.NDArray[Any]

_BATCH: Final = 32
_BATCH_NBYTES: Final = 128 << 20  # 32 images of 500 x 500 have 100 MB
_FEW: Final = 4  # photos as they were taken have tens of megabytes each
_FLOAT_NBYTES: Final = 4
_SUM_SLACK: Final = 1e-3  # by which probabilities in float16 may miss 1
_SINGLE: Final = 3  # rank of an image without a batch
_PAIR: Final = 2

Measure = Literal["probability", "value"]


@dataclass(frozen=True, slots=True)
class Score:
    """One class of one photo.

    Attributes:
        label: its name; None where the names are not known.
        index: its number.
        probability: from 0 to 1.
    """

    label: str | None
    index: int
    probability: float

    @property
    def name(self) -> str:
        """The label, else the number."""
        return str(self.index) if self.label is None else self.label


@dataclass(frozen=True, slots=True)
class Prediction:
    """One photo and its best classes, best first."""

    image: str
    top: tuple[Score, ...]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A photo that could not be used, and why."""

    image: str
    reason: str


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a model says about photos.

    Attributes:
        model: the model, as the caller wrote it.
        predictions: of each photo, in the order they were named.
        skipped: photos that could not be used.
        labels: names of the classes; empty where they are not known.
        classes: how many there are; 0 where no photo could be used.
        output: the tensor that was asked for.
        measure: "probability", or "value" where the model gives one number that is none.
        runtime: what ran the model.
        preprocessing: what was done to pixels before they went in; None where the model does it all.
        notes: what was concluded about the model, in words.
    """

    model: str
    predictions: tuple[Prediction, ...]
    skipped: tuple[Skipped, ...]
    labels: tuple[str, ...]
    classes: int
    output: str
    measure: Measure
    runtime: str
    preprocessing: Recipe | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Photo:
    """A photo as read.

    Attributes:
        image: its name.
        data: the bytes of the file.
        values: what the model takes; where it decodes by itself, the pixels.
    """

    image: str
    data: bytes
    values: Array


def predict(
    model: PathLike,
    images: Sequence[PathLike],
    *,
    top: int = 5,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    settings: Sequence[str] = (),
    size: tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    scale: Sequence[float] | None = None,
    bgr: bool | None = None,
    labels: PathLike | None = None,
    sheet: PathLike | None = None,
    force: bool = False,
    phase: Callable[[str], AbstractContextManager[None]] = proof.silent,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Say what is on photos.

    Args:
        model: a graph, a checkpoint with its graph, a SavedModel or an ONNX file.
        images: files, or folders with images anywhere below them.
        top: how many classes of each, best first.
        inputs: where the photos enter, if the model leaves that open.
        outputs: which tensor has the probabilities or logits, if the model leaves that open.
        settings: `NAME=VALUE`, placeholders of a graph to fix.
        size: (height, width) to resize to.
        mean: what is subtracted from each pixel, one number or one a channel.
        scale: what the difference is multiplied by, likewise.
        bgr: whether blue comes first.
        labels: file with one label a line, instead of those kept with the model.
        sheet: also write a picture of all photos with their labels to this PNG file.
        force: replace `sheet` if it exists.
        phase: called with what is being done; gives a context manager.
        progress: called with how many photos are done, and of how many.

    Raises:
        InputError: the model cannot be read, or none of the photos is there; broken ones are listed in the result.
        UsageError: no images; input, output or size must be chosen; labels are not as many as the classes.
        RuntimeUnavailableError: the runtime is not installed.
        RuntimeFailedError: the runtime refused.
        OutputExistsError: the sheet exists and `force` is not set.
    """
    if top < 1:
        raise UsageError(f"--top takes a number from 1 on, not {top}")
    if sheet is not None:
        check_sheet(sheet, force=force)
    given = None if labels is None else read_labels(labels)
    files, skipped = _files(images)
    wishes = Wishes(inputs=inputs, outputs=outputs, settings=settings, size=size, mean=mean, scale=scale, bgr=bgr)
    with contextlib.ExitStack() as stack:
        with phase("reading the model"):
            found = stack.enter_context(open_photo_model(model, wishes))
        with phase(f"loading {found.runs_on}"):
            runner = stack.enter_context(found.runner())
        names = found.labels if given is None else given
        asked = _Asked(found, runner, names, top, skipped)
        predictions: list[Prediction] = []
        step = _step(found)
        for start in range(0, len(files), step):
            chunk = files[start : start + step]
            predictions += asked.answers(asked.read(chunk))
            if progress is not None:
                progress(start + len(chunk), len(files))
        result = Predictions(
            os.fspath(model),
            tuple(predictions),
            tuple(asked.skipped),
            names,
            asked.classes,
            found.output,
            asked.measure,
            runner.runtime,
            found.way.recipe,
            (*found.notes, *asked.notes),
        )
    if sheet is not None:
        with phase("drawing the contact sheet"):
            write_sheet(result, sheet, force=force)
    return result


def _step(model: PhotoModel) -> int:
    """Return how many photos are held at once."""
    recipe = model.way.recipe
    if model.way.kind == "bytes" or recipe is None or recipe.size is None:
        return _FEW
    nbytes = recipe.size[0] * recipe.size[1] * recipe.channels * _FLOAT_NBYTES
    return max(1, min(_BATCH, _BATCH_NBYTES // nbytes))


def check_sheet(path: PathLike, *, force: bool) -> None:
    """Refuse a contact sheet early that could not be written.

    Raises:
        UsageError: its name does not end in .png.
        OutputExistsError: it exists and `force` is not set.
        OutputError: its folder cannot be written.
    """
    if Path(path).suffix.lower() != ".png":
        raise UsageError(f"a contact sheet is a PNG file, not `{path}`", hint="--sheet sheet.png")
    _atomic.ensure_absent(path, force=force)


def write_sheet(result: Predictions, path: PathLike, *, force: bool = False) -> int:
    """Draw photos with label and probability under each, and write them as one PNG file.

    Where the folder a photo stands in is named like a class, that is taken for the truth.

    Returns:
        How many photos are on it; of very many, only the first.

    Raises:
        OutputExistsError: the file exists and `force` is not set.
        OutputError: it cannot be written.
        RuntimeUnavailableError: Pillow is not installed.
    """
    from tfinspect.learn.sheet import MOST_CELLS, Cell, draw

    check_sheet(path, force=force)
    shown = result.predictions[:MOST_CELLS]
    sure = result.measure == "probability"
    cells = [Cell(p.image, p.top[0].name, p.top[0].probability if sure else None, _truth(p, result)) for p in shown]
    _atomic.write_file(path, [draw(cells, title=Path(result.model).name, count=len(result.predictions))], force=force)
    return len(cells)


def _truth(prediction: Prediction, result: Predictions) -> str | None:
    """Return the class a photo is of, where its folder says so."""
    name = Path(prediction.image).absolute().parent.name
    return name if name in result.labels else None


def _files(images: Sequence[PathLike]) -> tuple[list[str], list[Skipped]]:
    """Return the photos meant, those in folders in the order of their names."""
    files: list[str] = []
    skipped = []
    missing = False
    for given in images:
        image = os.fspath(given)
        if not os.path.lexists(image):
            skipped.append(Skipped(image, f"{image} does not exist"))
            missing = True
            continue
        if not Path(image).is_dir():
            files.append(image)
            continue
        found = []
        for folder, folders, names in os.walk(image):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            found += [
                str(Path(folder, name))
                for name in sorted(names)
                if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
            ]
        if not found:
            skipped.append(Skipped(image, f"{image} is a folder without images"))
        files += found
    if not files:
        reasons = [entry.reason for entry in skipped] or ["no photos were named"]
        kind_of = FileMissingError if missing else UsageError
        raise kind_of(
            reasons[0],
            details=reasons[1:],
            hint=None if missing else "name photos, or a folder of them, after the model",
            evidence={"images": [entry.image for entry in skipped]},
        )
    return files, skipped


class _Asked:
    """A model that is being asked about photos."""

    def __init__(
        self, model: PhotoModel, runner: Runner, labels: Sequence[str], top: int, skipped: Sequence[Skipped]
    ) -> None:
        self._model = model
        self._way = model.way
        self._runner = runner
        self._labels = labels
        self._top = top
        self._one_by_one = not model.way.batch
        self._activation = model.activation
        self.skipped = list(skipped)
        self.notes: list[str] = []
        self.classes = 0
        self.measure: Measure = "probability"
        recipe = model.way.recipe
        if recipe is not None and recipe.origin == "assumed" and model.way.kind == "values":
            how = "-1 to 1" if recipe.mean == UNKNOWN.mean else formula(recipe)
            self.notes.append(
                f"nothing says how pixels are scaled: {how} is assumed; if that is wrong, give --mean and --scale"
            )

    def read(self, images: Sequence[str]) -> list[_Photo]:
        """Read and prepare photos; note those that cannot be used."""
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="tfinspect-decode") as pool:
            found = list(pool.map(self._read, images))
        self.skipped += [entry for entry in found if isinstance(entry, Skipped)]
        return [entry for entry in found if isinstance(entry, _Photo)]

    def _read(self, image: str) -> _Photo | Skipped:
        import numpy as np

        try:
            data = read_image(image)
            values: Array = decode(data, image, channels=self._way.channels)
            recipe = self._way.recipe
            if self._way.kind == "values" and recipe is not None:
                values = recipe.apply(values)
                wanted = self._way.dtype.numpy
                values = (np.rint(values) if self._way.dtype is DType.UINT8 else values).astype(wanted, copy=False)
        except (InputError, LimitError) as error:
            return Skipped(image, error.message)
        except MemoryError:
            return Skipped(image, f"{image} does not fit into memory")
        return _Photo(image, data, values)

    def answers(self, photos: Sequence[_Photo]) -> list[Prediction]:
        """Return the best classes of each photo; note those for which the model gives no numbers."""
        import numpy as np

        found = []
        for photo, row in zip(photos, self._rows(photos), strict=True):
            if not self.classes:
                self._begin(row)
            values = self._probabilities(row)
            if not np.isfinite(values).all():
                self.skipped.append(Skipped(photo.image, f"the model gives `{self._model.output}` for {photo.image} "
                                                         "values that are not finite"))  # fmt: skip
                continue
            best = np.argsort(-values, kind="stable")[: self._top].tolist()
            names = [self._labels[i] if self._labels else None for i in best]
            scores = tuple(Score(name, i, float(values[i])) for name, i in zip(names, best, strict=True))
            found.append(Prediction(photo.image, scores))
        return found

    def _rows(self, photos: Sequence[_Photo]) -> list[Array]:
        """Return what the model gives for each photo, as vectors."""
        if not self._one_by_one and len(photos) > 1:
            try:
                found = self._run(photos)
            except RuntimeFailedError:
                found = None  # a dimension inside is fixed though the input's is not, or one of the photos is at fault
            if found is not None and found.ndim > 0 and len(found) == len(photos):
                return list(found.reshape(len(photos), -1))
            self._one_by_one = True
        return [self._row(photo) for photo in photos]

    def _row(self, photo: _Photo) -> Array:
        if self._way.kind == "values":
            return self._run([photo]).reshape(-1)
        if kind(photo.data) == "JPEG":
            with contextlib.suppress(RuntimeFailedError):  # CMYK above all, which TensorFlow's decoder does not take
                return self._run([photo]).reshape(-1)
        return self._run([photo], decoded=True).reshape(-1)

    def _run(self, photos: Sequence[_Photo], *, decoded: bool = False) -> Array:
        (found,) = self._runner.run([self._model.output], {**self._model.always, **self._feed(photos, decoded=decoded)})
        return found

    def _feed(self, photos: Sequence[_Photo], *, decoded: bool) -> dict[str, Array]:
        import numpy as np

        way = self._way
        if way.kind == "bytes":
            if decoded and way.decoded:
                return {way.decoded: photos[0].values}
            files = [p.data if kind(p.data) == "JPEG" and not decoded else encode_png(p.values) for p in photos]
            fed = np.empty(() if way.rank == 0 else len(files), object)
            fed[...] = files[0] if way.rank == 0 else files
            return {way.name: fed}
        values = [np.moveaxis(p.values, -1, 0) if way.first else p.values for p in photos]
        return {way.name: values[0] if way.rank == _SINGLE else np.stack(values)}

    def _begin(self, row: Array) -> None:
        """Look at the first answer: how many classes there are, and whether their numbers are probabilities yet."""
        output = self._model.output
        if not row.size or row.dtype.kind in "OSU":
            raise UsageError(
                f"`{output}` gives {'strings' if row.size else 'nothing'} for a photo, no numbers of classes",
                hint="choose the probabilities: --outputs T",
                evidence={"output": output},
            )
        self.classes = int(row.size)
        if self._activation == "sigmoid" and self.classes == 1 and len(self._labels) == _PAIR:
            self.classes = _PAIR  # one number tells two classes apart
        check_labels(self._labels, self.classes)
        if self._activation == "unknown":
            low, high, total = float(row.min()), float(row.max()), float(row.sum())
            if low < 0 or high > 1:
                self._activation = "none"
            elif self.classes > 1 and abs(total - 1) > _SUM_SLACK:
                self._activation = "sigmoid"
                self.notes.append(f"the values of `{output}` do not add up to 1: taken as a probability each")
            else:
                self._activation = "softmax"
        if self._activation == "none" and self.classes == 1:
            self.measure = "value"
            self.notes.append(f"`{output}` is one number, which is shown as it is")
        elif self._activation == "none":
            self.notes.append(f"`{output}` is what feeds a softmax, not its result: softmax is applied")

    def _probabilities(self, row: Array) -> npt.NDArray[np.float64]:
        import numpy as np

        values = row.astype(np.float64)
        if self._activation == "log-softmax":
            return np.exp(values)
        if self._activation == "none" and self.measure == "probability":
            values = np.exp(values - values.max())
            return np.asarray(values / values.sum())
        if values.size < self.classes:
            return np.concatenate([1 - values, values])
        return values
