"""The scripts that make a shell ask for completions, and putting them where the shell finds them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tfinspect.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

_BASH: Final = r"""
_tfinspect_completion() {
    local IFS=$'\n'
    COMPREPLY=( $( env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" \
                   _TFINSPECT_COMPLETE=complete_bash "$1" 2>/dev/null ) )
    # a scope goes on, and so does NAME=VALUE: no space behind them
    case "${COMPREPLY[0]-}" in
        */ | *=) [[ ${#COMPREPLY[@]} -eq 1 ]] && compopt -o nospace 2>/dev/null ;;
    esac
    return 0
}

complete -o default -F _tfinspect_completion tfinspect
"""
_ZSH: Final = r"""
#compdef tfinspect

_tfinspect_completion() {
    local -a lines ends open
    local line value
    lines=("${(@f)$(env COMP_WORDS="${(F)words}" COMP_CWORD=$((CURRENT - 1)) \
        _TFINSPECT_COMPLETE=complete_zsh "${(Q)words[1]}" 2>/dev/null)}")
    for line in $lines; do
        value="${line%%$'\t'*}"
        if [[ $value == */ || $value == *= ]]; then
            open+=("$value")
        elif [[ $line == *$'\t'* ]]; then
            ends+=("${value//:/\\:}:${line#*$'\t'}")
        else
            ends+=("${value//:/\\:}")
        fi
    done
    if (( ! $#ends && ! $#open )); then
        _files
        return
    fi
    (( $#open )) && compadd -S '' -- $open
    (( $#ends )) && _describe 'tfinspect' ends
}

if [ "$funcstack[1]" = "_tfinspect" ]; then
    _tfinspect_completion "$@"
else
    compdef _tfinspect_completion tfinspect
fi
"""
_FISH: Final = r"""
function __tfinspect_completion
    set -l before (commandline -opc)
    set -l words $before (commandline -ct)
    set -l all (commandline -op)
    set -l next (math (count $words) + 1)
    if test (count $all) -ge $next
        set words $words $all[$next..-1]
    end
    set -l joined (string join \n -- $words | string collect)
    set -l offers (env COMP_WORDS="$joined" COMP_CWORD=(count $before) \
        _TFINSPECT_COMPLETE=complete_fish $before[1] 2>/dev/null)
    if test (count $offers) -gt 0
        printf '%s\n' $offers
    else
        __fish_complete_path (commandline -ct)
    end
end

complete --command tfinspect --no-files --arguments '(__tfinspect_completion)'
"""
SCRIPTS: Final = {"bash": _BASH.lstrip(), "zsh": _ZSH.lstrip(), "fish": _FISH.lstrip()}
_FLAGS: Final = {"--show-completion": "show", "--install-completion": "install"}


def run(words: Sequence[str]) -> bool:
    """Answer `--show-completion [SHELL]` and `--install-completion [SHELL]`; return whether that was asked.

    Raises:
        UsageError: the shell is none of those known, or cannot be told.
        OutputError: the script cannot be written.
    """
    if not words or words[0] not in _FLAGS:
        return False
    flag, *rest = words
    if len(rest) > 1:
        raise UsageError(f"{flag} takes one shell: {', '.join(SCRIPTS)}", hint=f"tfinspect {flag} {rest[0]}")
    shell = rest[0] if rest else _shell()
    if shell not in SCRIPTS:
        what = f"no completion for the shell `{shell}`" if shell else "the shell that this runs in cannot be told"
        raise UsageError(what, hint=f"tfinspect {flag} bash (or {', '.join(list(SCRIPTS)[1:])})")
    if _FLAGS[flag] == "show":
        sys.stdout.write(SCRIPTS[shell])
    else:
        path = _install(shell)
        sys.stdout.write(f"{shell} completion installed in {path}\nIt takes effect in a new shell\n")
    return True


def _shell() -> str:
    """Return the name of the shell among the processes that started this one, else of the user's login shell."""
    process = os.getppid()
    while process > 1:
        try:
            stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            break
        name, _, rest = stat.partition("(")[2].rpartition(")")
        if name in SCRIPTS:
            return name
        process = int(rest.split()[1])
    return Path(os.environ.get("SHELL", "")).name


def _install(shell: str) -> Path:
    home = Path.home()
    try:
        if shell == "bash":
            path = home / ".bash_completions" / "tfinspect.sh"
            _write(path, SCRIPTS[shell])
            _add_line(home / ".bashrc", f"source '{path}'")
        elif shell == "zsh":
            path = home / ".zfunc" / "_tfinspect"
            _write(path, SCRIPTS[shell])
            _add_line(home / ".zshrc", "fpath+=~/.zfunc; autoload -Uz compinit; compinit")
        else:
            path = home / ".config" / "fish" / "completions" / "tfinspect.fish"
            _write(path, SCRIPTS[shell])
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"{error.filename} cannot be written: {reason}", hint="tfinspect --show-completion") from None
    return path


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _add_line(path: Path, line: str) -> None:
    """Append a line to a shell's start-up file, once; what stands there stays byte for byte."""
    before = path.read_bytes() if path.is_file() else b""
    if line.encode() in before.splitlines():
        return
    with path.open("ab") as file:
        file.write((b"" if before.endswith(b"\n") or not before else b"\n") + line.encode() + b"\n")
