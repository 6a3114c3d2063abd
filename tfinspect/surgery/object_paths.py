"""Variables of an object-based checkpoint that were saved as part of something else than the graph was.

`tf.train.Checkpoint(model=m)` keeps under `model/dense/kernel` what a SavedModel of `m` calls `dense/kernel`. Names of
variables are tried first, then one prefix that all keys lack or have too much.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from tfinspect.ir.checkpoint import VALUE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tfinspect.ir.checkpoint import VariableInfo
    from tfinspect.ir.graph import Node
    from tfinspect.surgery.reconcile import Key


def found_elsewhere(
    keys: Mapping[str, Key], variables: Iterable[Node], known: Mapping[str, VariableInfo]
) -> dict[str, Key]:
    """Return other keys for variables whose own are not in an object-based checkpoint, where they are clear.

    Args:
        keys: by variable.
        variables: the nodes that matter.
        known: what the checkpoint holds.
    """
    missing = [node for node in variables if keys[node.name].name not in known]
    if not missing or not any(name.endswith(VALUE) for name in known):
        return {}
    named = _by_label(missing, keys, known)
    rest = [node for node in missing if node.name not in named]
    wanted = {node.name: keys[node.name].name for node in rest if keys[node.name].name.endswith(VALUE)}
    moved = _by_prefix(list(wanted.values()), known)
    return named | {name: replace(keys[name], name=moved[key]) for name, key in wanted.items() if key in moved}


def _by_label(missing: Iterable[Node], keys: Mapping[str, Key], known: Mapping[str, VariableInfo]) -> dict[str, Key]:
    """Find variables by the names they had, those that two have left out."""
    count = Counter(info.label for info in known.values())
    by_label = {i.label: i.name for i in known.values() if i.label and count[i.label] == 1 and i.role == "weight"}
    found: dict[str, Key] = {}
    for node in missing:
        name = next((by_label[n] for n in (node.text("shared_name"), node.name) if n in by_label), None)
        if name is not None and name not in {key.name for key in found.values()}:
            found[node.name] = replace(keys[node.name], name=name)
    return found


def _by_prefix(wanted: list[str], known: Mapping[str, VariableInfo]) -> dict[str, str]:
    """Find the one prefix which, added to all keys or taken from all, gives keys of the checkpoint."""
    if not wanted:
        return {}
    first = wanted[0]
    added = [name.removesuffix(first) for name in known if name.endswith(f"/{first}")]
    parts = first.removesuffix(VALUE).split("/")
    taken = ["/".join(parts[:count]) + "/" for count in range(1, len(parts))]
    ways = [{key: prefix + key for key in wanted} for prefix in added]
    ways += [{key: key.removeprefix(p) for key in wanted} for p in taken if all(key.startswith(p) for key in wanted)]
    fitting = [way for way in ways if all(name in known for name in way.values())]
    return fitting[0] if len(fitting) == 1 else {}
