"""Completes a command line for the shell: commands, options, their values, names from the file on the line.

The command's own signature says what it takes, as it does for Typer; Typer itself is left out of this, because setting
up its parser takes longer than all the rest. Nothing here raises or prints anything but the answer.

How the shell asks: `_TFINSPECT_COMPLETE=complete_SHELL`, the words of the line in COMP_WORDS, one a line, and in
COMP_CWORD the number of the word that is being typed. The answer is one offer a line; for zsh and fish, a tab and what
it means follow. Scripts that were written by Typer ask with _TYPER_COMPLETE_ARGS instead, and get what they expect.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace, UnionType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Union, get_args, get_origin

from tfinspect.cli.overview import COMMANDS, OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

VARIABLE: Final = "_TFINSPECT_COMPLETE"
_BREAKS = re.compile(r"[:=]+")  # bash makes words of their own of these


class Offer(NamedTuple):
    """One way to go on.

    Attributes:
        value: the whole word.
        help: one line about it, possibly empty.
    """

    value: str
    help: str = ""


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument or option of a command.

    Attributes:
        name: of the function's parameter.
        flags: as they are typed; empty for an argument.
        takes_value: whether a word follows.
        choices: the values it takes, where they are few.
        names: offers names from a file.
        help: one line.
    """

    name: str
    flags: tuple[str, ...] = ()
    takes_value: bool = True
    choices: tuple[str, ...] = ()
    names: Callable[[Any, str], list[str]] | None = None
    help: str = ""


@dataclass(slots=True)
class Line:
    """What stands on the line around the word that is being typed.

    Attributes:
        params: values of the command's parameters, so far as they are there.
        pending: the option whose value is being typed.
        position: number of the argument that is being typed.
        only_arguments: whether `--` stands before the word.
    """

    params: dict[str, object] = field(default_factory=dict)
    pending: Parameter | None = None
    position: int = 0
    only_arguments: bool = False


def answer(environment: Mapping[str, str] = os.environ) -> int:
    """Print what the shell asks for; return the exit status."""
    shell = environment[VARIABLE].partition("_")[2]
    offers: list[Offer] = []
    trimmed = 0
    try:
        before, word, after, trimmed = _asked(shell, environment)
        offers = complete(before, word, after)
    except Exception:  # noqa: BLE001 - a message would land in the middle of the line that is being typed
        offers = []
    return _print(shell, offers, trimmed, environment)


def complete(before: Sequence[str], word: str, after: Sequence[str] = ()) -> list[Offer]:
    """Return how the word that is being typed can go on.

    Args:
        before: the words before it, the program's name left out.
        word: what there is of it.
        after: the words behind it.
    """
    words = [text for text in before if text != "--debug"]
    if not words:
        if word.startswith("-"):
            return [Offer(name, text) for name, text in OPTIONS.items() if name.startswith(word)]
        return [Offer(name, row.summary) for name, row in COMMANDS.items() if name.startswith(word)]
    if words[0] in {"--show-completion", "--install-completion"}:
        from tfinspect.cli.completion_scripts import SCRIPTS

        return [Offer(shell) for shell in SCRIPTS if shell.startswith(word)]
    if words[0] not in COMMANDS:
        return []
    parameters = _parameters(words[0])
    line = _line(parameters, words[1:], word, [text for text in after if text != "--debug"])
    if line.pending is not None:
        return _values(line.pending, line, word)
    if word.startswith("-") and not line.only_arguments:
        return _options(parameters, line, word)
    arguments = [p for p in parameters if not p.flags]
    if line.position >= len(arguments):
        return []
    return _values(arguments[line.position], line, word)


def _options(parameters: Sequence[Parameter], line: Line, word: str) -> list[Offer]:
    flag, equals, value = word.partition("=")
    if equals:
        option = next((p for p in parameters if flag in p.flags and p.takes_value), None)
        return [] if option is None else [Offer(f"{flag}={o.value}", o.help) for o in _values(option, line, value)]
    found = [
        Offer(name, parameter.help)
        for parameter in parameters
        for name in sorted(parameter.flags, key=len, reverse=True)[: 2 if word == "-" else None]
        if name.startswith(word)
    ]
    return found + [Offer(name, "Show help") for name in ("--help",) if name.startswith(word)]


def _values(parameter: Parameter, line: Line, word: str) -> list[Offer]:
    if parameter.choices:
        return [Offer(choice) for choice in parameter.choices if choice.startswith(word)]
    if parameter.names is None:
        return []
    return [Offer(name) for name in parameter.names(SimpleNamespace(params=line.params), word)]


def _line(parameters: Sequence[Parameter], before: Sequence[str], word: str, after: Sequence[str]) -> Line:
    by_flag = {flag: parameter for parameter in parameters for flag in parameter.flags}
    arguments = [p for p in parameters if not p.flags]
    line = Line()

    def walk(words: Sequence[str]) -> Parameter | None:
        pending: Parameter | None = None
        for text in words:
            flag, equals, value = text.partition("=")
            option = None if line.only_arguments else by_flag.get(text) or (by_flag.get(flag) if equals else None)
            if pending is not None:
                line.params[pending.name] = text
                pending = None
            elif text == "--" and not line.only_arguments:
                line.only_arguments = True
            elif option is not None and equals and text not in by_flag:
                line.params[option.name] = value
            elif option is not None:
                pending = option if option.takes_value else None
            elif line.only_arguments or not text.startswith("-") or text == "-":
                if line.position < len(arguments):
                    line.params[arguments[line.position].name] = text
                line.position += 1
        return pending

    line.pending = walk(before)
    position, only_arguments = line.position, line.only_arguments
    is_argument = line.pending is None and (only_arguments or not word.startswith("-"))
    line.position += is_argument
    walk(after)
    line.position, line.only_arguments = position, only_arguments
    return line


def _parameters(command: str) -> list[Parameter]:
    """Return what a command takes, as its signature says."""
    import importlib
    import inspect
    from typing import get_type_hints

    function = importlib.import_module(f"tfinspect.cli.commands.{command.replace('-', '_')}").command
    hints = get_type_hints(function, include_extras=True)
    found = []
    for name in inspect.signature(function).parameters:
        kind, *notes = get_args(hints[name]) or (hints[name],)
        info = next((note for note in notes if hasattr(note, "param_decls")), None)
        if info is not None:
            found.append(_parameter(name, kind, info))
    return found


def _parameter(name: str, kind: Any, info: Any) -> Parameter:  # noqa: ANN401 - Typer's description of a parameter
    words = (info.default, *(info.param_decls or ()))
    flags = tuple(text for text in words if isinstance(text, str) and text.startswith("-"))
    if get_origin(kind) in {Union, UnionType}:
        kind = next(part for part in get_args(kind) if part is not type(None))
    choices = tuple(str(member.value) for member in kind) if isinstance(kind, type) and issubclass(kind, Enum) else ()
    names = next((completer for flag in flags if (completer := _by_flag(flag, info.metavar))), info.autocompletion)
    return Parameter(
        name, flags, kind is not bool, choices, names, (info.help or "").splitlines()[0] if info.help else ""
    )


def _by_flag(flag: str, metavar: str | None) -> Callable[[Any, str], list[str]] | None:
    """Return what an option means in every command that has it."""
    from tfinspect.cli import complete as completers

    if flag == "--match" and metavar == "A=B":
        return completers.pairs
    return {
        "--scope": completers.scopes,
        "--head-scope": completers.head_scopes,
        "--function": completers.functions,
        "--op": completers.ops,
        "--set": completers.settings,
        "--map": completers.renamings,
        "--read": completers.variables,
    }.get(flag)


# -- what the shells ask, and how they are answered --------------------------------------------------------------------


def _asked(shell: str, environment: Mapping[str, str]) -> tuple[list[str], str, list[str], int]:
    """Return the words before, the word, the words after, and how many characters of it the shell puts itself."""
    asked_by_typer = environment.get("_TYPER_COMPLETE_ARGS")
    if shell != "bash" and asked_by_typer is not None:
        words = _split(asked_by_typer)
        typed = words.pop() if words[1:] and not asked_by_typer.endswith(" ") else ""
        return words[1:], typed, [], 0
    text = environment["COMP_WORDS"]
    raw = text.split("\n") if "\n" in text else _raw_words(text)
    current = int(environment["COMP_CWORD"])
    raw += [""] * (current + 1 - len(raw))
    trimmed = 0
    if shell == "bash":
        raw, current, trimmed = _rejoined(raw, current)
    plain = [_unquoted(part) for part in raw]
    return plain[1:current], plain[current], plain[current + 1 :], trimmed


def _rejoined(raw: Sequence[str], current: int) -> tuple[list[str], int, int]:
    """Put together what bash took apart at `:` and `=`; return also how much of the word comes before its last part.

    Whether there was a space between the parts bash does not tell; nobody types one there.
    """
    words: list[str] = []
    at = trimmed = 0
    glue = False
    for number, part in enumerate(raw):
        is_break = _BREAKS.fullmatch(part) is not None
        if words[1:] and (is_break or (glue and part)):
            before = len(words[-1])
            words[-1] += part
            if number == current:
                trimmed = len(_unquoted(words[-1])) if is_break else before
        else:
            words.append(part)
        if number == current:
            at = len(words) - 1
        glue = is_break
    return words, at, trimmed


def _raw_words(text: str) -> list[str]:
    """Split at spaces that are not quoted; the quotes stay."""
    return re.findall(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*(?:"|$)|'[^']*(?:'|$)|\\$)+""", text)


def _split(text: str) -> list[str]:
    return [_unquoted(word) for word in _raw_words(text)]


def _unquoted(word: str) -> str:
    """Take quotes and backslashes away as a shell does; a quote that is still open counts as closed."""
    out: list[str] = []
    quote = ""
    position = 0
    while position < len(word):
        character = word[position]
        if character == "\\" and quote != "'" and position + 1 < len(word):
            position += 1
            if quote and word[position] not in '"\\$`':
                out.append("\\")
            out.append(word[position])
        elif quote:
            if character == quote:
                quote = ""
            else:
                out.append(character)
        elif character in {'"', "'"}:
            quote = character
        else:
            out.append(character)
        position += 1
    return "".join(out)


def _print(shell: str, offers: Sequence[Offer], trimmed: int, environment: Mapping[str, str]) -> int:
    by_typer = shell != "bash" and "_TYPER_COMPLETE_ARGS" in environment
    if shell == "bash":
        lines: Iterable[str] = (offer.value[trimmed:] for offer in offers)
    elif by_typer and shell == "zsh":
        lines = [_zsh_arguments(offers)]
    elif by_typer and environment.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
        return 0 if offers else 1
    else:
        lines = (f"{offer.value}\t{offer.help}".rstrip() for offer in offers)
    text = "\n".join(lines)
    sys.stdout.write(text + "\n" if text else "")
    return 0


def _zsh_arguments(offers: Sequence[Offer]) -> str:
    """Return the zsh code that Typer's script evaluates."""
    if not offers:
        return "_files"

    def escaped(text: str) -> str:
        for character, instead in (('"', '""'), ("'", "''"), ("$", "\\$"), ("`", "\\`"), (":", "\\\\:")):
            text = text.replace(character, instead)
        return text

    rows = [f'"{escaped(offer.value)}"' + (f':"{escaped(offer.help)}"' if offer.help else "") for offer in offers]
    return "_arguments '*: :((" + "\n".join(rows) + "))'"
