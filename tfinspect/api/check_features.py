"""Whether features are those that TensorFlow computes from the file that was given, fed the very bytes of photos."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tfinspect import __version__, formats
from tfinspect.api import proof
from tfinspect.errors import RuntimeFailedError
from tfinspect.learn.images import is_plain_jpeg
from tfinspect.learn.worker import Prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from tfinspect.api.load import PathLike
    from tfinspect.api.trunk import Trunk
    from tfinspect.ir.runner import Runner
    from tfinspect.learn.extract import Computer

    Array = npt.NDArray[Any]

RTOL: Final = 5e-4
"""Of the largest feature: what rounding in another order may cost; measured, a tenth of it. Colours in another order,
or another way of resizing or decoding, cost a hundred times more."""
_FILE: Final = "verified.json"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How features compare with TensorFlow's.

    Attributes:
        images: how many were compared.
        max_abs: largest deviation.
        tolerance: the largest that is accepted, `RTOL` of the largest feature.
        varies: whether the features of different images differ by more than the tolerance; else it proves nothing.
        worst: the image that deviates most.
        runtime: TensorFlow's name and version.
    """

    images: int
    max_abs: float
    tolerance: float
    varies: bool
    worst: str
    runtime: str

    @property
    def passed(self) -> bool:
        """Whether they are the same."""
        return self.max_abs <= self.tolerance


class PhotoReference:
    """The model as it was found, run by TensorFlow on one photo at a time.

    Where the graph decodes images it is fed the bytes of the file; what its own op does not take, the pixels.
    """

    def __init__(self, trunk: Trunk, runner: Runner) -> None:
        self._trunk = trunk
        self._runner = runner

    @property
    def runtime(self) -> str:
        """Name and version."""
        return self._runner.runtime

    def on_file(self, _name: str, data: bytes, pixels: Array) -> Array:
        """Return the bottleneck for an image that the graph decodes.

        Raises:
            RuntimeFailedError: the runtime refused or died.
        """
        import numpy as np

        decoder = self._trunk.decoder
        if decoder is not None and is_plain_jpeg(data):
            return self._run({str(decoder.contents): np.array(data, object)})
        return self._run({str(self._trunk.ready if decoder is None else decoder.ref): pixels})

    def on_prepared(self, values: Array) -> Array:
        """Return the bottleneck for prepared pixels.

        Raises:
            RuntimeFailedError: the runtime refused or died.
        """
        return self._run({str(self._trunk.ready): values[None]})

    def _run(self, feed: dict[str, Array]) -> Array:
        (feeds,) = proof.reference_feeds([feed], self._trunk.whole)
        return self._runner.run([str(self._trunk.bottleneck)], feeds)[0]


def check(
    trunk: Trunk, worker: Computer, images: Sequence[tuple[str, bytes]], pixels_of: Callable[[str, bytes], Any]
) -> Agreement | None:
    """Compare a worker's features of some images with TensorFlow's.

    Args:
        trunk: what is computed.
        worker: what computes it.
        images: names and bytes of files.
        pixels_of: decodes one.

    Returns:
        How they compare; None where no image could be used.

    Raises:
        RuntimeFailedError: a runtime refused or died.
        RuntimeUnavailableError: TensorFlow is not installed.
    """
    import numpy as np

    prepared: list[tuple[Prepared, bytes]] = []
    for name, data in images:
        found = worker.prepare(name, data)
        if isinstance(found, Prepared):
            prepared.append((found, data))
    if not prepared:
        return None
    rows = worker.compute([image for image, _ in prepared])
    wanted = []
    with proof.reference_of(trunk.model) as reference, reference.runner() as runner:
        photos = PhotoReference(trunk, runner)
        for image, data in prepared:
            if trunk.decoder is None:
                got = photos.on_prepared(image.values)
            else:
                got = photos.on_file(image.name, data, pixels_of(image.name, data))
            wanted.append(got.reshape(-1))
        runtime = runner.runtime
    right = np.stack(wanted).astype(np.float64)
    found_rows = np.stack([row.features for row in rows]).astype(np.float64)
    if found_rows.shape != right.shape:
        raise RuntimeFailedError(
            f"`{trunk.bottleneck}` has {found_rows.shape[1]:,} features here and {right.shape[1]:,} in TensorFlow"
        )
    deviation = np.abs(found_rows - right).max(axis=1)
    deviation[~np.isfinite(deviation)] = np.inf
    tolerance = RTOL * float(np.abs(right).max())
    spread = float(np.abs(right - right[:1]).max()) if len(right) > 1 else float(np.ptp(right))
    worst = int(deviation.argmax())
    return Agreement(
        len(right), float(deviation[worst]), tolerance, spread > tolerance, prepared[worst][0].name, runtime
    )


def remembered(folder: PathLike) -> Agreement | None:
    """Return what was found out before about the trunk whose features are kept in a folder, or None."""
    try:
        found = json.loads(Path(folder, _FILE).read_text(encoding="utf-8"))
        return Agreement(**found["agreement"]) if found["tfinspect"] == __version__ else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it is found out again


def remember(folder: PathLike, agreement: Agreement) -> None:
    """Keep what was found out.

    Raises:
        OutputError: it cannot be written.
    """
    text = json.dumps({"tfinspect": __version__, "agreement": asdict(agreement)})
    formats.write_text(Path(folder, _FILE), text, force=True)
