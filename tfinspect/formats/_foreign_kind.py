"""What a file is that is no model, and words that several kinds share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file is.

    Attributes:
        title: with its article, as in "... is a JPEG image".
        hint: what to do; `{path}`, `{stem}`, `{folder}` and what stands in `inside` are filled in, quoted for a shell.
        details: evidence, a line each.
        inside: name of the model in an archive; `{inside}` is that name beneath the folder it is unpacked to.
    """

    title: str
    hint: str = ""
    details: tuple[str, ...] = ()
    inside: str = ""


DOWNLOAD_AGAIN: Final = (
    "a page was saved in place of the file: download it again, with curl -fL from the file's own address"
)
NAME_THE_MODEL: Final = "name the model, not what it is fed with"
EXPORT_TO_ONNX: Final = "loading it would run code from it; export the model to ONNX where it was made"
CONVERT_THERE: Final = "convert it to ONNX with a tool of its own framework"
