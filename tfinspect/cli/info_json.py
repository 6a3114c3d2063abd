"""What `info --json` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfinspect.cli.render import spec_json
from tfinspect.ir.signature import TensorSpec

if TYPE_CHECKING:
    from tfinspect.api.describe import LayerInfo
    from tfinspect.api.info import Info
    from tfinspect.api.survey import Survey
    from tfinspect.errors import TfinspectError


def problem_json(problem: TfinspectError) -> dict[str, object]:
    """Return why a part cannot be read."""
    return {"slug": problem.slug, "message": problem.message, "evidence": problem.evidence}


def survey_json(found: Survey) -> dict[str, object]:
    """Return the models of a folder as one object."""
    return {
        "path": found.path,
        "format": "folder",
        "members": [
            {
                "name": m.name,
                "format": m.format or None,
                "nbytes": m.nbytes,
                "content": m.summary or None,
                "problem": None if m.problem is None else problem_json(m.problem),
            }
            for m in found.members
        ],
        "other_files": found.other_files,
        "complete": found.complete,
        "inputs": [],
        "outputs": [],
        "bottlenecks": [],
    }


def _layer(layer: LayerInfo) -> dict[str, object]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "shape": None if layer.shape is None else list(layer.shape),
        "parameters": layer.parameters,
        "inputs": list(layer.inputs),
        "weights": list(layer.weights),
        "settings": layer.settings,
    }


def info_json(found: Info) -> dict[str, object]:
    """Return the description of a model as one object."""
    content: dict[str, object] = {
        "path": found.path,
        "format": found.format,
        "title": found.title,
        "nbytes": found.nbytes,
        "tensorflow_version": found.tensorflow_version or None,
        "inputs": [spec_json(s) for s in found.inputs],
        "outputs": [spec_json(s) for s in found.outputs],
        "bottlenecks": [],
        "tags": list(found.tags),
        "tag_sets": [list(tags) for tags in found.tag_sets],
        "assets": list(found.assets),
        "labels": list(found.labels),
        "signatures": {
            name: {
                "inputs": [spec_json(s) for s in signature.inputs],
                "outputs": [spec_json(s) for s in signature.outputs],
                "method": signature.method,
                "functions": list(found.functions.get(name, ())),
            }
            for name, signature in found.signatures.items()
        },
        "facts": found.facts,
        "training": found.training or None,
        "layers": [_layer(layer) for layer in found.layers],
        "operators": found.operators,
        "risks": [{"kind": risk.kind, "where": risk.where, "what": risk.what} for risk in found.risks],
        "missing_files": list(found.missing),
        "problems": [problem_json(problem) for problem in found.problems],
        "next": found.next or None,
    }
    graph = found.graph
    if graph is not None:
        content |= {
            "node_count": graph.node_count,
            "ops": graph.ops,
            "producer": graph.producer,
            "min_consumer": graph.min_consumer,
            "function_count": graph.functions,
            "variable_count": graph.variable_count,
            "constant_nbytes": graph.constant_nbytes,
            "parameters": graph.parameters,
            "outputs_certain": graph.outputs_certain,
            "bottlenecks": [
                {
                    **spec_json(TensorSpec(b.ref, b.dtype, b.shape)),
                    "width": b.width,
                    "reason": b.reason,
                    "follows": b.follows,
                }
                for b in graph.bottlenecks
            ],
            "flags": [{"name": str(f.ref), "value": f.value, "why": f.why} for f in graph.flags],
            "blockers": [{"op": b.op, "count": b.count, "reason": b.reason} for b in graph.blockers],
            "old_ops": [{"op": o.op, "count": o.count, "refused_since": o.version} for o in graph.old_ops],
        }
        for key, ends in (("inputs", graph.inputs), ("outputs", graph.outputs)):
            known = {str(end.ref): end for end in ends}
            content[key] = [
                {
                    **spec_json(s),
                    "kind": known[s.name].kind if s.name in known else None,
                    "note": (known[s.name].note or None) if s.name in known else None,
                }
                for s in getattr(found, key)
            ]
    if found.checkpoint is not None:
        content["checkpoint"] = {
            "path": found.checkpoint.path,
            "format": found.checkpoint.format,
            "roles": found.checkpoint.roles,
            "nbytes": found.checkpoint.nbytes,
            "parameters": found.checkpoint.parameters,
            "missing_files": list(found.checkpoint.missing_files),
        }
    if found.head is not None:
        content["head"] = {
            "features": found.head.features,
            "classes": found.head.classes,
            "layers": [{"features": f, "units": u, "activation": a} for f, u, a in found.head.layers],
            "labels": list(found.head.labels),
        }
    return content
