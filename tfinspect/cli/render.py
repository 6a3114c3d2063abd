"""Values as text and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfinspect.cli.terminal import escape
from tfinspect.ir.attrs import AttrList, FuncRef
from tfinspect.ir.dtypes import DType
from tfinspect.ir.shapes import format_shape
from tfinspect.ir.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tfinspect.cli.terminal import Terminal
    from tfinspect.ir.attrs import Attr
    from tfinspect.ir.graph import Graph
    from tfinspect.ir.shapes import Shape
    from tfinspect.ir.signature import TensorSpec

_KIB = 1024
_PREVIEW_ELEMENTS = 8
_MOST_NBYTES = 2 << 30  # of a tensor in a graph; what declares more is not looked into


def format_nbytes(nbytes: int) -> str:
    """Return `8 B`, `1.7 KiB`, `91.2 MiB`."""
    if nbytes < _KIB:
        return f"{nbytes} B"
    size, unit = float(nbytes), "B"
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):  # noqa: B007 - the unit it stops at
        size /= _KIB
        if round(size, 1) < _KIB:
            break
    return f"{size:.1f} {unit}"


def plural(count: int, word: str) -> str:
    """Return `1 node`, `1,008 nodes`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def spec_json(spec: TensorSpec) -> dict[str, object]:
    """Return an input or output as the contract writes it."""
    return {
        "key": spec.key,
        "name": spec.name,
        "dtype": None if spec.dtype is None else str(spec.dtype),
        "shape": None if spec.shape is None else list(spec.shape),
    }


def json_values(array: Any) -> Any:  # noqa: ANN401 - NumPy, which this module does not load
    """Return the elements of an array as JSON has them: nested lists; bytes as text, complex numbers as pairs."""
    if array.dtype.kind == "O":
        return _mapped(array.tolist(), lambda v: v.decode("utf-8", "backslashreplace") if isinstance(v, bytes) else v)
    if array.dtype.kind == "c":
        return _mapped(array.tolist(), lambda v: [v.real, v.imag])
    if array.dtype.kind not in "biuf":  # bfloat16 and its like
        return array.astype("float32").tolist()
    return array.tolist()


def _mapped(value: Any, function: Callable[[Any], object]) -> Any:  # noqa: ANN401
    return [_mapped(item, function) for item in value] if isinstance(value, list) else function(value)


def kind_cells(terminal: Terminal, dtype: DType | None, shape: Shape) -> tuple[str, ...]:
    """Return dtype and shape of a tensor: one cell on a terminal, two in a pipe."""
    cells = ("?" if dtype is None else str(dtype), format_shape(shape))
    return (" ".join(cells),) if terminal.is_tty else cells


def attr_text(attr: Attr) -> str:
    """Return an attribute on one line."""
    if attr.kind == "shape":
        return format_shape(attr.value)
    return _text(attr.value)


def _text(value: Any) -> str:  # noqa: ANN401 - any attribute value
    if isinstance(value, bytes):
        return repr(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, DType):
        return str(value)
    if isinstance(value, Tensor):
        from tfinspect.api.listing import preview

        head = f"{value.dtype} {format_shape(value.shape)}"
        if value.nbytes > _MOST_NBYTES:
            return f"{head}, {value.nbytes:,} bytes, which no file holds"
        return f"{head} {preview(value.numpy(), _PREVIEW_ELEMENTS)}" if value.dtype.itemsize or value.size else head
    if isinstance(value, FuncRef):
        return f"function {value.name}"
    if isinstance(value, AttrList):
        parts = [format_shape(v) if value.kind == "shape" else _text(v) for v in value.values]
        return "[" + ", ".join(parts) + "]"
    return str(value)


def attr_json(attr: Attr) -> dict[str, object]:
    """Return an attribute as `{kind, value}`; of a tensor dtype, shape and the first values."""
    value = attr.value
    if attr.kind == "list":
        return {"kind": f"list({value.kind})", "value": [_json(value.kind, v) for v in value.values]}
    return {"kind": attr.kind, "value": _json(attr.kind, value)}


def _json(kind: str, value: Any) -> object:  # noqa: ANN401 - any attribute value
    if kind == "s":
        return value.decode("utf-8", "backslashreplace")
    if kind == "type":
        return str(value)
    if kind == "shape":
        return None if value is None else list(value)
    if kind == "func":
        return value.name
    if kind == "tensor":
        if value.nbytes > _MOST_NBYTES:
            return {"dtype": str(value.dtype), "shape": list(value.shape), "first": None}
        first = json_values(value.numpy().reshape(-1)[:_PREVIEW_ELEMENTS])
        return {"dtype": str(value.dtype), "shape": list(value.shape), "first": first}
    return value


def print_change(
    terminal: Terminal,
    verb: str,
    output: str,
    graph: Graph,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    dry_run: bool,
    extra: Mapping[str, object],
) -> None:
    """Print what `freeze`, `cut` and `graft` answer: the ends of the graph that was written."""
    if terminal.json_mode:
        terminal.json(
            f"{verb}/1",
            {
                "output": output,
                "written": not dry_run,
                "node_count": len(graph),
                "inputs": [spec_json(s) for s in inputs],
                "outputs": [spec_json(s) for s in outputs],
                **extra,
            },
        )
        return
    rows = [("input", s) for s in inputs] + [("output", s) for s in outputs]
    for word, spec in rows:
        dtype = "?" if spec.dtype is None else str(spec.dtype)
        if terminal.is_tty:
            terminal.line(f"  {word:<8} {escape(spec.name)}  {dtype} {format_shape(spec.shape)}")
        else:
            terminal.line("\t".join((escape(spec.name), word, dtype, format_shape(spec.shape))))
    terminal.note(f"{'would write' if dry_run else 'wrote'} {output} ({plural(len(graph), 'node')})")
