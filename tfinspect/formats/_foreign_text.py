"""Text files that people hand over in place of a model."""

from __future__ import annotations

import re
from typing import Final

from tfinspect.formats._foreign_kind import CONVERT_THERE, DOWNLOAD_AGAIN, NAME_THE_MODEL, Kind

_JSON: Final = (
    (r'"modelTopology"|"weightsManifest"|"format"\s*:\s*"(?:layers|graph)-model"', Kind(
        "a TensorFlow.js model (model.json)", "use the model it was converted from: a SavedModel or an .h5 file"
    )),
    (r'"class_name"\s*:\s*"Tokenizer"|"word_index"|"added_tokens"', Kind("a tokenizer as JSON", NAME_THE_MODEL)),
    (r'"class_name"\s*:\s*"(?:Sequential|Model|Functional)"', Kind(
        "a Keras model's architecture as JSON, without weights", "name the .h5 or .keras file that has them as well"
    )),
    (r'"keras_version"', Kind("a part of an unpacked Keras archive (JSON)", "name the .keras file it was in")),
    (r'"confs"\s*:\s*\[|"networkInputs"\s*:', Kind(
        "a Deeplearning4j network's configuration, without its parameters", "name the .zip file it was in"
    )),
    (r'"arg_nodes"\s*:|"mxnet_version"', Kind("an MXNet network as JSON (symbol.json)", CONVERT_THERE)),
    (r'"architectures"\s*:|"model_type"\s*:', Kind(
        "a Hugging Face configuration, without weights", "name the file that holds the weights: tf_model.h5"
    )),
    (r'"nbformat"\s*:', Kind("a Jupyter notebook")),
)  # fmt: skip
_XML: Final = (
    (r"<pmml\b", Kind("a PMML model", CONVERT_THERE)),
    (r"<net\b[^>]*\bversion=", Kind("an OpenVINO network (.xml)", "use the model it was converted from")),
    (r"", Kind("XML text", DOWNLOAD_AGAIN)),
)
_COMMENTS = r"(?:\s|#[^\n]*\n)*"
_PROTOTXT = (
    rf"(?s){_COMMENTS}(?:name\s*:\s*\"[^\"\n]*\"\s+)?(?:input(?:_dim|_shape)?\b.*?|state\s*\{{.*?)?\blayers?\s*\{{"
)
_WORDS: Final = (
    (r"\s*(?:404: not found|not found\b|access denied|invalid request|too many requests)", Kind(
        "a server's answer, not a file: {first}", DOWNLOAD_AGAIN
    )),
    (r"\s*model_config_list\b", Kind(
        "a TensorFlow Serving configuration (model_config_list)", "name the folder that its base_path tells"
    )),
    (r"\s*item\s*\{", Kind("a label map", NAME_THE_MODEL)),
    (r"\s*model\s*\{\s*(?:faster_rcnn|ssd|center_net)\b", Kind(
        "a pipeline configuration of the Object Detection API", "name the graph: frozen_inference_graph.pb"
    )),
    (_PROTOTXT, Kind(
        "a Caffe network as text (.prototxt)", CONVERT_THERE
    )),
    (r"(?:\s|[#;][^\n]*\n)*\[net(?:work)?\]", Kind("a Darknet network (.cfg), without its weights", CONVERT_THERE)),
    (_COMMENTS + r"(?:import|from)\s+[a-z_][\w.]*", Kind("Python source", "name the model that it writes")),
)  # fmt: skip
_LINES_COMPARED = 5


def text_kind(head: bytes, size: int) -> Kind | None:
    """Return what a text file is, told by its first bytes; None where it is no text.

    Args:
        head: the first bytes.
        size: bytes of the file.
    """
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:64].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return Kind("an HTML page", DOWNLOAD_AGAIN)
    if start.startswith((b"<?xml", b"<error", b"<pmml", b"<net ")):
        text = head.decode("utf-8", "replace").lower()
        return next(kind for pattern, kind in _XML if re.search(pattern, text))
    try:
        text = head.decode("utf-8-sig", "strict" if size <= len(head) else "ignore")
    except UnicodeDecodeError:
        return None
    if any(ord(c) < ord(" ") and c not in "\t\n\r\f" for c in text):
        return None
    if start.startswith((b"{", b"[")) and not re.match(rb"\[[a-z]+\]", start):
        return next((kind for pattern, kind in _JSON if re.search(pattern, text)), Kind("JSON text"))
    for pattern, kind in _WORDS:
        if re.match(pattern, text, re.IGNORECASE):
            first = next((line.strip() for line in text.splitlines() if line.strip()), "")
            return Kind(kind.title.replace("{first}", f"`{first[:40]}`"), kind.hint)
    return _table(text) or Kind("text, but not the text of a graph")


def _table(text: str) -> Kind | None:
    lines = text.splitlines()[:_LINES_COMPARED]
    for mark, name in ((",", "comma"), ("\t", "tab")):
        counts = {line.count(mark) for line in lines}
        if len(lines) > 1 and len(counts) == 1 and counts != {0}:
            return Kind(f"a table of {name}-separated values", NAME_THE_MODEL)
    return None
