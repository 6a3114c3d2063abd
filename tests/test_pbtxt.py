"""Graphs as text: line and column of what is wrong, and no more nesting than the stack can bear."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from google.protobuf import text_format

from tfinspect import formats
from tfinspect.errors import CorruptFileError, InputError, LimitError, TfinspectError, UnsupportedFeatureError
from tfinspect.formats import graphdef, metagraph, pbtxt, saved_model
from tfinspect.formats._schema import message_class

FIXTURES = Path(__file__).parent.parent / "fixtures"
NODE = 'node { name: "a" op: "NoOp" }\n'


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "g.pbtxt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("name", ["inception_tiny.pb", "scrambled.pb"])
def test_text_and_binary_are_the_same_graph(name: str, tmp_path: Path) -> None:
    data = (FIXTURES / name).read_bytes()
    message = message_class("GraphDef").FromString(data)
    path = write(tmp_path, text_format.MessageToString(message))
    graph = formats.read_graph(path)
    again = message_class("GraphDef").FromString(b"".join(graphdef.encode(graph)))
    assert again.SerializeToString(deterministic=True) == message.SerializeToString(deterministic=True)
    assert graph.source is not None
    assert (graph.source.path, graph.source.size) == (str(path), path.stat().st_size)


def test_comments_and_a_byte_order_mark_come_first(tmp_path: Path) -> None:
    text = '\ufeff# a comment { "\n\n  # another\n' + NODE + "versions { producer: 21 }"
    graph = formats.read_graph(write(tmp_path, text))
    assert [n.name for n in graph] == ["a"]
    assert graph.versions.producer == 21


@pytest.mark.parametrize(
    ("text", "line", "column", "byte", "words"),
    [
        (NODE + 'node { name: "b" op: }', 2, 22, 51, "found expected string but found: '}'"),
        (NODE + 'node { name: "b" op: "x\ny" }', 2, 22, 51, "String missing ending quote"),
        ("versions { producer: 99999999999999 }", 1, 22, 21, "out of range"),
        ("versions { producer: 1", 1, 22, 21, "Expected"),
        (NODE + 'node { name: "ä" attr { key: "T" value { type: DT_NONSENSE } } }', 2, 48, 78, "DT_NONSENSE"),
        ("node { name: 5 }", 1, 14, 13, "Expected string"),
    ],
)
def test_errors_name_line_and_column(text: str, line: int, column: int, byte: int, words: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(CorruptFileError) as caught:
        formats.read_graph(path)
    assert f"line {line}, column {column}" in caught.value.message
    assert caught.value.offset == byte
    assert words.lower() in caught.value.message.lower()
    assert "\n" not in caught.value.message


def test_a_huge_line_is_not_repeated_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError) as caught:
        formats.read_graph(write(tmp_path, 'node { name: "' + "x" * 100_000 + '" op: } '))
    assert len(caught.value.message) < 400
    assert caught.value.message.endswith("expected string but found: '}'")


def test_a_field_of_the_future_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, NODE + 'node { name: "b"\n  novelty: 1 }')
    with pytest.raises(UnsupportedFeatureError) as caught:
        formats.read_graph(path)
    assert caught.value.message.startswith(f"{path}, line 3, column 3 (byte 49): ")
    assert "`novelty`" in caught.value.message or '"novelty"' in caught.value.message


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="at byte 13: expected UTF-8 text, found byte 0xff"):
        formats.read_graph(write(tmp_path, b'node { name: \xff"a" }'))


def test_a_node_without_a_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"g\.pbtxt: node 2 \(`Add`\) has no name"):
        formats.read_graph(write(tmp_path, NODE + 'node { op: "Add" }'))


def nested(depth: int) -> str:
    return (
        'node { name: "a" op: "X" '
        + 'attr { key: "f" value { func { name: "g" ' * depth
        + "} } } " * depth
        + "}"
    )  # fmt: skip


def test_deep_nesting_is_refused_by_its_place(tmp_path: Path) -> None:
    assert len(formats.read_graph(write(tmp_path, nested(33)))) == 1
    for depth in (34, 40, 200_000):
        with pytest.raises(CorruptFileError, match="messages nested at most 100 deep, found deeper ones") as caught:
            formats.read_graph(write(tmp_path, nested(depth)))
        assert caught.value.offset < 2000
    assert len(formats.read_graph(write(tmp_path, NODE + "# " + "{" * 1000))) == 1
    assert len(formats.read_graph(write(tmp_path, 'node { name: "a" device: "' + "{" * 1000 + '" }'))) == 1


def test_fields_that_are_not_read_are_skipped_in_place(tmp_path: Path) -> None:
    debug = 'debug_info {\n  files: "}"\n  traces { key: "x" value { file_line_cols { line: 1 } } }\n}\n'
    assert [n.name for n in formats.read_graph(write(tmp_path, NODE + debug + NODE.replace('"a"', '"b"')))] == [
        "a",
        "b",
    ]
    with pytest.raises(CorruptFileError, match="line 6, column"):
        formats.read_graph(write(tmp_path, NODE + debug + "node { name: 5 }"))
    kept = 'node { name: "b" experimental_debug_info { original_node_names: "x" } }'
    assert len(formats.read_graph(write(tmp_path, NODE + kept))) == 2


def test_meta_graphs_and_saved_models_as_text(tmp_path: Path) -> None:
    meta = message_class("MetaGraphDef").FromString((FIXTURES / "training/model.ckpt-3.meta").read_bytes())
    path = write(tmp_path, text_format.MessageToString(meta))
    assert formats.identify(path).name == "metagraph"
    assert len(metagraph.read(path).graph or ()) == len(meta.graph_def.node)
    saved = message_class("SavedModel").FromString((FIXTURES / "saved_model/saved_model.pb").read_bytes())
    saved.meta_graphs[0].ClearField("object_graph_def")
    text = text_format.MessageToString(saved).rstrip().removesuffix("}")
    text += (
        '  object_graph_def { nodes { children { node_id: 1 local_name: "w" } user_object { identifier: "_x" } } }\n}\n'
    )
    (tmp_path / "saved_model.pbtxt").write_text(text)
    model = saved_model.read(tmp_path)
    assert list(model.signatures) == ["serving_default"]
    assert formats.identify(tmp_path).name == "saved_model"
    for field, opener in (("graph_def", metagraph.read), ("meta_graphs { graph_def", saved_model.read)):
        nameless = write(tmp_path, f'{field} {{ node {{ op: "Add" }} }}' + "}" * field.count("{"))
        with pytest.raises(InputError, match=r"node 1 \(`Add`\) has no name"):
            opener(nameless)


def test_a_text_of_512_mib_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pbtxt, "_MAX_NBYTES", 100)
    with pytest.raises(LimitError, match="has 101 bytes of text, and more than 100 would take minutes"):
        pbtxt.read(write(tmp_path, "#" + "x" * 100))


def test_damaged_text_raises_nothing_but_our_own_errors(tmp_path: Path) -> None:
    data = (FIXTURES / "graph.pbtxt").read_bytes()
    rng = random.Random(3)  # noqa: S311 - the same each time
    pieces = [
        b"{",
        b"}",
        b'"',
        b"'",
        b"<",
        b"\\",
        b"\\377",
        b"\\u12",
        b": 1e999",
        b"[x.y/z]",
        b"-",
        b"\n",
        b"\xff",
        b"#",
    ]
    refused = 0
    for i in range(300):
        place = rng.randrange(len(data))
        piece = rng.choice(pieces)
        damaged = data[:place] if i % 3 == 0 else data[:place] + piece + data[place + rng.randrange(3) :]
        if not damaged:
            continue
        path = write(tmp_path, damaged)
        try:
            pbtxt.read(path)
        except TfinspectError as error:
            refused += 1
            assert str(path) in error.message  # noqa: PT017 - some damage hurts nothing
            assert 0 <= int(str(error.evidence.get("offset", 0))) <= len(damaged) + 1  # noqa: PT017
    assert refused > 200
