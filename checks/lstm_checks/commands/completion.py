"""`lstm-checks completion`: what a shell needs to complete this command line, made of the parser itself."""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lstm_checks.commands import common
from lstm_checks.commands.common import OK

EPILOG = """\
  bash   eval "$(lstm-checks completion bash)"            in ~/.bashrc
  zsh    eval "$(lstm-checks completion zsh)"             in ~/.zshrc, after compinit
  fish   lstm-checks completion fish | source             in ~/.config/fish/config.fish

exit code: 0
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = common.add_command(
        commands,
        "completion",
        run,
        help="print what completes this command line in a shell",
        description="Print what completes this command line in a shell: commands, options, what these may be, files.",
        epilog=EPILOG,
    )
    parser.add_argument("shell", choices=[*SHELLS], help="which shell")
    parser.set_defaults(parsers=commands.choices)


def run(options: argparse.Namespace) -> int:
    """Return the exit code of `completion`."""
    common.emit(SHELLS[options.shell](tuple(_described(options.parsers))), sys.stdout)
    return OK


@dataclass(frozen=True)
class _Option:
    """One option by its names, what it may be where that is known, whether it takes anything, and its help."""

    names: tuple[str, ...]
    choices: tuple[str, ...]
    takes: bool
    help: str


@dataclass(frozen=True)
class _Command:
    """One command: its options, and what its first arguments may be."""

    name: str
    help: str
    options: tuple[_Option, ...]
    words: tuple[str, ...]

    @property
    def flags(self) -> tuple[str, ...]:
        """All names of its options."""
        return tuple(name for option in self.options for name in option.names)


def _described(parsers: Mapping[str, argparse.ArgumentParser], before: str = "") -> Iterator[_Command]:
    """Yield each command, those below others as "vectors write"."""
    for name, parser in parsers.items():
        options, words = [], list[str]()
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from _described(action.choices, f"{before}{name} ")
                words += action.choices
            elif action.option_strings:
                options.append(_option(action))
            else:
                words += [str(choice) for choice in action.choices or ()]
        yield _Command(before + name, _first_sentence(parser.description or ""), tuple(options), tuple(words))


def _option(action: argparse.Action) -> _Option:
    """Return what is to be known of an option."""
    choices = tuple(str(choice) for choice in action.choices or ())
    return _Option(tuple(action.option_strings), choices, action.nargs != 0, _first_sentence(action.help or ""))


def _first_sentence(text: str) -> str:
    """Return the beginning of a help text, without what shells have signs for."""
    words = " ".join(text.replace("%%", "%").split()).split(". ")[0].split(";")[0].rstrip(".")
    return "".join(letter for letter in words if letter not in "'\"`$\\[]:")


def _bash(commands: Sequence[_Command]) -> str:
    """Return the completion for bash."""
    top = [command.name for command in commands if " " not in command.name]
    cases = []
    for command in commands:
        cases.append(f"        {_quoted(command.name)}) words={_quoted(' '.join((*command.flags, *command.words)))} ;;")
    values = [
        f"        {_quoted(f'{command.name} {name}')}) values={_quoted(' '.join(option.choices))} ;;"
        for command in commands
        for option in command.options
        for name in option.names
        if option.choices
    ]
    below = _with_actions(commands)
    return f"""\
_lstm_checks() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD - 1]}}"
    local command="" words="" values="" word
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD - 1}}"; do
        case "$word" in -*) continue ;; esac
        if [ -z "$command" ]; then
            command="$word"
        elif [[ " {below} " == *" $command "* ]]; then
            command="$command $word"
            break
        else
            break
        fi
    done
    if [ -z "$command" ]; then
        COMPREPLY=($(compgen -W {_quoted(" ".join((*top, "--help", "--version")))} -- "$current"))
        return
    fi
    case "$command $before" in
{chr(10).join(values)}
    esac
    if [ -n "$values" ]; then
        COMPREPLY=($(compgen -W "$values" -- "$current"))
        return
    fi
    case "$command" in
{chr(10).join(cases)}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    case "$current" in
        -*) ;;
        *) compopt -o default -o bashdefault 2>/dev/null ;;
    esac
}}
complete -F _lstm_checks lstm-checks"""


def _with_actions(commands: Sequence[_Command]) -> str:
    """Return the commands that have others below them, in a row."""
    return " ".join(dict.fromkeys(command.name.split()[0] for command in commands if " " in command.name))


def _quoted(text: str) -> str:
    """Return a text that a shell takes as it is."""
    return "'" + text.replace("'", "'\\''") + "'"


def _zsh(commands: Sequence[_Command]) -> str:
    """Return the completion for zsh."""
    top = [f"            {_quoted(f'{c.name}:{c.help}')}" for c in commands if " " not in c.name]
    cases = []
    for command in commands:
        specs = [_zsh_option(option) for option in command.options]
        words = f"'*: :({' '.join(command.words)})'" if command.words else "'*:file:_files'"
        cases.append(f"        {_quoted(command.name)}) _arguments {' '.join([*specs, words])} ;;")
    below = _with_actions(commands)
    return f"""\
#compdef lstm-checks
_lstm_checks() {{
    local -a commands
    if (( CURRENT == 2 )); then
        commands=(
{chr(10).join(top)}
        )
        _describe command commands
        return
    fi
    local command="$words[2]"
    shift words
    (( CURRENT-- ))
    if [[ " {below} " == *" $command "* ]] && (( CURRENT > 2 )); then
        command="$command $words[2]"
        shift words
        (( CURRENT-- ))
    fi
    case "$command" in
{chr(10).join(cases)}
    esac
}}
compdef _lstm_checks lstm-checks"""


def _zsh_option(option: _Option) -> str:
    """Return an option as `_arguments` takes it, by each of its names."""
    after = f":value:({' '.join(option.choices)})" if option.choices else ":value:_files" if option.takes else ""
    return " ".join(_quoted(f"{name}[{option.help}]{after}") for name in option.names)


def _fish(commands: Sequence[_Command]) -> str:
    """Return the completion for fish."""
    lines = []
    for command in commands:
        *above, name = command.name.split()
        where = f"__fish_seen_subcommand_from {above[0]}" if above else "__fish_use_subcommand"
        lines.append(f"complete -c lstm-checks -n {_quoted(where)} -f -a {name} -d {_quoted(command.help)}")
        inside = _quoted(" && ".join(f"__fish_seen_subcommand_from {word}" for word in (*above, name)))
        for option in command.options:
            names = " ".join(f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in option.names)
            takes = f" -x -a {_quoted(' '.join(option.choices))}" if option.choices else " -r" if option.takes else ""
            lines.append(f"complete -c lstm-checks -n {inside} {names}{takes} -d {_quoted(option.help)}")
        below = {c.name.split()[1] for c in commands if c.name.startswith(f"{command.name} ")}
        words = [word for word in command.words if word not in below]
        if words:
            lines.append(f"complete -c lstm-checks -n {inside} -f -a {_quoted(' '.join(words))}")
    return "\n".join(lines)


SHELLS: dict[str, Callable[[Sequence[_Command]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
