"""Functions that If, Case and While call, for variables that have become values.

1. A variable's handle that such a node takes becomes the variable's value. The types of the node (`Tin`, `T`,
   `output_shapes`) and of the arguments, and of the results of a loop's body, change together.
2. Each function is copied once for every combination of types its callers give it, as `NAME_frozen`; callers with
   variables of other types get other copies. Calls in a copy are replaced by what they call, what its results do not
   need is gone, and If, Case and While in it are treated in the same way. Nodes lose the mark that makes TensorFlow
   take them apart into Switch and Merge, which converters cannot put together again.
3. An update that only a control input asks for is dropped. One that a result depends on is refused by name, and so is
   a loop that updates a variable: its next round would see the change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tfinspect.errors import InvalidGraphError, SurgeryError
from tfinspect.ir.attrs import Attr, AttrList, FuncRef
from tfinspect.ir.functions import Function, FunctionBody
from tfinspect.ir.refs import TensorRef, split_input
from tfinspect.surgery._bodies import (
    BRANCHES,
    LOOPS,
    FlatBodies,
    called,
    canonical,
    needed,
    redirected,
    refuse_recursion,
    substituted,
)
from tfinspect.surgery._edges import fresh_name
from tfinspect.surgery.body_updates import without_updates
from tfinspect.surgery.drop_updates import is_update
from tfinspect.surgery.handles import HINTS, PASSING, READING, plain_read
from tfinspect.surgery.prune import called_functions, reachable_functions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tfinspect.ir.dtypes import DType
    from tfinspect.ir.graph import Node
    from tfinspect.ir.shapes import Shape

CONTROL_FLOW: Final = BRANCHES | LOOPS
_LOWER = "_lower_using_switch_merge"  # would have TensorFlow's optimiser take the node apart, for its own executor
_FUNCTIONS = ("then_branch", "else_branch", "branches", "cond", "body")
_RENAMED = {"ReadVariableOp": "value", "VarIsInitializedOp": "is_initialized"}  # output names; what they become: output

Carried = tuple["DType | None", ...]
"""For each argument, the dtype of the variable whose handle it takes; None where it takes none."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A copy that is to be made.

    Attributes:
        function: key in the library.
        carried: by argument.
        role: "branch", "cond" or "body".
        attrs: given to the function by its caller.
        name: of the copy.
    """

    function: str
    carried: Carried
    role: str
    attrs: Mapping[str, Attr]
    name: str


class PlainFunctions:
    """Copies of library functions, made as calling nodes ask for them.

    Args:
        library: the functions as they are.
    """

    def __init__(self, library: Mapping[str, Function]) -> None:
        self._library = library
        self._bodies = FlatBodies(library)
        self._wanted: dict[tuple[str, Carried, str, str], _Wanted] = {}
        self._checked: set[str] = set()
        self._taken = set(library)

    def call(self, node: Node, carried: Carried, shapes: Sequence[Shape], where: str = "") -> Node:
        """Return a calling node that takes values in place of handles; the copies it calls are noted.

        Args:
            node: an If, Case or While.
            carried: by data input of the node.
            shapes: of the variables, by data input of the node.
            where: the function the node stands in; empty for the main graph.

        Raises:
            InvalidGraphError: its types do not fit its inputs.
            SurgeryError: it is a loop that updates a variable, or chooses by a handle.
            LimitError: a function calls itself.
        """
        first = 1 if node.op in BRANCHES else 0
        self._check(node, where)
        types_attr = "Tin" if node.op in BRANCHES else "T"
        types = node.listed(types_attr, "type")
        if len(types) != len(carried) - first or any(carried[:first]):
            raise InvalidGraphError(
                f"{_place(node, where)} takes {len(carried) - first} inputs and has the types of {len(types)}",
                evidence={"node": node.name, "function": where},
            )
        given = carried[first:]
        changes = {
            types_attr: Attr.of(
                AttrList("type", tuple(old if new is None else new for old, new in zip(types, given, strict=True)))
            )
        }
        outputs = node.listed("output_shapes", "shape")
        if node.op in LOOPS and outputs:
            if len(outputs) != len(given):
                raise InvalidGraphError(
                    f"{_place(node, where)} has {len(given)} outputs and the shapes of {len(outputs)}",
                    evidence={"node": node.name, "function": where},
                )
            new_shapes = (s if d is None else known for s, d, known in zip(outputs, given, shapes, strict=True))
            changes["output_shapes"] = Attr.of(AttrList("shape", tuple(new_shapes)))
        for name in _FUNCTIONS:
            attr = node.attrs.get(name)
            if attr is not None and attr.kind == "func":
                changes[name] = Attr.of(self._copy(attr.value, given, name, node, where))
            elif attr is not None and attr.kind == "list" and attr.value.kind == "func":
                copies = tuple(self._copy(ref, given, name, node, where) for ref in attr.value.values)
                changes[name] = Attr.of(AttrList("func", copies))
        kept = {name: attr for name, attr in node.attrs.items() if name not in (*HINTS, _LOWER)}
        return node.replace(attrs={**kept, **changes})

    def concerns(self, node: Node, carried: Carried) -> bool:
        """Whether a calling node, or what it calls, is to be changed at all."""
        if any(carried) or _LOWER in node.attrs:
            return True
        functions = reachable_functions([node], self._library)
        inside = (inner for name in functions for inner in self._library[name].body.nodes)
        return any(_LOWER in inner.attrs or called(self._library, inner) is not None for inner in inside)

    def made(self) -> dict[str, Function]:
        """Make the copies that were asked for, and those that they ask for; return them by name.

        Raises:
            InvalidGraphError: a function is not well formed.
            SurgeryError: a handle goes where it cannot be followed, or a result depends on an update.
            LimitError: the bodies would take too many nodes.
        """
        found: dict[str, Function] = {}
        while len(found) < len(self._wanted):
            for wanted in [each for each in self._wanted.values() if each.name not in found]:
                body = self._body(wanted)
                found[wanted.name] = Function(wanted.name, _Ready(body))
        return found

    def _check(self, node: Node, where: str) -> None:
        names = called_functions(node, self._library)
        refuse_recursion(self._library, names, self._callees)
        if node.op not in LOOPS:
            return
        for name in reachable_functions([node], self._library):
            if name in self._checked:
                continue
            self._checked.add(name)
            update = next((n for n in self._library[name].body.nodes if is_update(n)), None)
            if update is not None:
                raise SurgeryError(
                    f"cannot freeze: the loop {_place(node, where)} changes a variable: "
                    f"`{update.name}` ({update.op}) in the function `{name}`",
                    hint="choose outputs that do not need it with --outputs",
                    evidence={"loop": node.name, "node": update.name, "op": update.op, "function": name},
                )

    def _callees(self, name: str) -> list[str]:
        nodes = self._library[name].body.nodes
        return list(dict.fromkeys(inner for node in nodes for inner in called_functions(node, self._library)))

    def _copy(self, ref: FuncRef, carried: Carried, attr: str, node: Node, where: str) -> FuncRef:
        function = self._library.get(ref.name)
        if function is None:
            raise InvalidGraphError(
                f"{_place(node, where)} calls the function `{ref.name}`, which is not in the library",
                evidence={"node": node.name, "function": ref.name},
            )
        if len(function.body.args) != len(carried):
            raise InvalidGraphError(
                f"{_place(node, where)} gives {len(carried)} inputs to the function `{ref.name}`, "
                f"which takes {len(function.body.args)}",
                evidence={"node": node.name, "function": ref.name},
            )
        role = attr if attr in ("cond", "body") else "branch"
        open_attrs = any(a.kind == "placeholder" for n in function.body.nodes for a in n.attrs.values())
        key = (ref.name, carried, role, repr(sorted(ref.attrs.items())) if open_attrs else "")
        if key not in self._wanted:
            name = fresh_name(f"{ref.name}_frozen", self._taken)
            self._taken.add(name)
            self._wanted[key] = _Wanted(ref.name, carried, role, ref.attrs, name)
        return FuncRef(self._wanted[key].name, {})

    def _body(self, wanted: _Wanted) -> FunctionBody:
        flat = self._bodies.get(wanted.function)
        function = flat.function
        nodes = without_updates(wanted.function, function, flat.nodes, flat.results)
        nodes = [node.replace(attrs=_open(substituted(node, wanted.attrs, wanted.name))) for node in nodes]
        handles = self._follow(wanted, nodes)
        taken = {node.name for node in nodes} | {name for name, _ in function.body.args}
        plain: list[Node] = []
        moved: dict[str, str] = {}
        for node in nodes:
            if node.op in CONTROL_FLOW:
                refs = node.data_inputs
                carried = tuple(handles[ref][1] if ref in handles else None for ref in refs)
                changes = self.concerns(node, carried)
                plain.append(self.call(node, carried, [None] * len(refs), wanted.function) if changes else node)
                continue
            made = plain_read(node, handles, taken, in_body=True)
            plain += [node] if made is None else made
            if made and node.op in _RENAMED:
                moved[f"{node.name}:{_RENAMED[node.op]}:0"] = f"{node.name}:output:0"
        names = {node.name for node in plain}
        waits = {node.name: "" for node in nodes if node.name not in names}
        plain = redirected(plain, moved, waits)
        results = tuple(moved.get(canonical(text), text) for text in flat.results)
        plain = needed(function, plain, results)
        return self._signed(wanted, function, plain, results, handles)

    def _signed(
        self,
        wanted: _Wanted,
        function: Function,
        nodes: Sequence[Node],
        results: tuple[str, ...],
        handles: Mapping[TensorRef, tuple[str, DType]],
    ) -> FunctionBody:
        args = tuple(
            (name, dtype if carried is None else carried)
            for (name, dtype), carried in zip(function.body.args, wanted.carried, strict=True)
        )
        given: Carried = tuple(handles[ref][1] if (ref := _key(text)) in handles else None for text in results)
        due = wanted.carried if wanted.role == "body" else (None,) * len(results)
        if len(given) != len(due):
            raise InvalidGraphError(
                f"the function `{wanted.function}` is the body of a loop of {len(due)} values and gives {len(given)}",
                evidence={"function": wanted.function},
            )
        for (name, _), carries, wants in zip(function.body.outputs, given, due, strict=True):
            if carries != wants:
                raise SurgeryError(
                    f"cannot freeze: the function `{wanted.function}` gives a handle as its result `{name}`, "
                    "which is not the one it was given there",
                    evidence={"function": wanted.function, "result": name},
                )
        outputs = tuple(
            (name, dtype if carries is None else carries)
            for (name, dtype), carries in zip(function.body.outputs, given, strict=True)
        )
        unknown = next((name for name, dtype in (*args, *outputs) if dtype is None), None)
        if unknown is not None:
            raise SurgeryError(
                f"cannot freeze: the type of `{unknown}` of the function `{wanted.function}` depends on its caller",
                evidence={"function": wanted.function},
            )
        return FunctionBody(args, outputs, tuple(nodes), dict(zip((n for n, _ in outputs), results, strict=True)))

    def _follow(self, wanted: _Wanted, nodes: Sequence[Node]) -> dict[TensorRef, tuple[str, DType]]:
        """Return every tensor of a body that carries a handle, with the argument it came by and the dtype."""
        args = self._library[wanted.function].body.args
        found = {
            TensorRef(name): (name, dtype)
            for (name, _), dtype in zip(args, wanted.carried, strict=True)
            if dtype is not None
        }
        users: dict[str, list[Node]] = {}
        for node in nodes:
            for text in node.inputs:
                if not text.startswith("^"):
                    users.setdefault(text.partition(":")[0], []).append(node)
        waiting = list(found)
        while waiting:
            ref = waiting.pop()
            for user in users.get(ref.name.partition(":")[0], ()):
                inputs = [_key(text) for text in user.inputs if not text.startswith("^")]
                if ref not in inputs or user.op in READING:
                    continue
                for out in _passed(user, inputs, ref, wanted.function, found[ref][0]):
                    if out not in found:
                        found[out] = found[ref]
                        waiting.append(out)
        return found


@dataclass(frozen=True, slots=True)
class _Ready:
    body: FunctionBody

    def __call__(self) -> FunctionBody:
        return self.body


def _passed(user: Node, inputs: Sequence[TensorRef], ref: TensorRef, function: str, arg: str) -> list[TensorRef]:
    """Return the outputs of a node that carry a handle it takes."""
    if user.op in LOOPS:
        return [TensorRef(f"{user.name}:output", k) for k, given in enumerate(inputs) if given == ref]
    if user.op in BRANCHES and inputs[0] != ref:
        return []
    if user.op not in PASSING:
        raise SurgeryError(
            f"cannot freeze: in the function `{function}`, the handle `{arg}` goes into `{user.name}` ({user.op}), "
            "where it cannot be followed",
            hint="choose outputs that do not need it with --outputs",
            evidence={"function": function, "argument": arg, "node": user.name, "op": user.op},
        )
    names = ("output_false", "output_true") if user.op == "Switch" else ("output",)
    return [TensorRef(f"{user.name}:{name}") for name in names]


def _open(attrs: Mapping[str, Attr]) -> dict[str, Attr]:
    """Leave out the shapes that a caller of old gave: they need not hold for the variables of every caller."""
    return {name: attr for name, attr in attrs.items() if name != "_output_shapes"}


def _key(text: str) -> TensorRef:
    name, index, _ = split_input(canonical(text))
    return TensorRef(name, index)


def _place(node: Node, where: str) -> str:
    return f"`{node.name}` ({node.op})" + (f" in the function `{where}`" if where else "")
