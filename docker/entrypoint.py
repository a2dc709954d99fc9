#!/opt/pypx/bin/python
"""What runs when the container starts: the command that was given, else the listener.

In: the arguments of ``docker run``, and the environment. Out: the command, in the place of
this process, so that it is PID 1 and gets SIGTERM itself.

``docker run IMAGE px-find …`` runs px-find; ``--px-find …`` does too, as images of pypx have
always taken it; options alone are those of the listener.

The listener listens on all interfaces of the container, and takes whoever reaches the port
unless something says who may send: ``PYPX_ALLOW``, ``--allow``, or ``allow`` and nodes in
the configuration. Publishing the port is what makes it reachable at all.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

HEALTH_RULE = "HEALTHCHECK@127.0.0.1"
"""Lets the HEALTHCHECK of the image associate; 127.0.0.1 is in the container."""

_GRACE = "8"  # seconds: docker stop kills after 10
_NO_ARCHIVE = 5  # the exit codes of px
_NOT_FOUND = 127


def command_line(arguments: Sequence[str]) -> list[str]:
    """Say what is to run.

    Args:
        arguments: Those of ``docker run``, or of CMD.
    """
    if not arguments:
        return ["px-listen"]
    first, *rest = arguments
    if re.fullmatch(r"--px(-[a-z]+)?", first):
        return [first[2:], *rest]
    return ["px-listen", *arguments] if first.startswith("-") else [first, *rest]


def options_of_listener(line: Sequence[str]) -> Sequence[str] | None:
    """Give the options if it is the listener that is to run."""
    if line[0] == "px-listen":
        return line[1:]
    return line[2:] if list(line[:2]) == ["px", "listen"] else None


def added_options(options: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """Say with which options the listener runs in a container, besides those given.

    Args:
        options: Those given; ``--host`` and who may send stay as they are.
        environ: ``PYPX_ALLOW`` has rules with commas between them.
    """

    def given(*names: str) -> bool:
        return any(option.partition("=")[0] in names for option in options)

    if given("--inetd", "-t"):
        return []  # the association is on stdin
    added = [] if given("--host") else ["--host", "0.0.0.0"]
    added += [] if given("--grace") else ["--grace", _GRACE]
    if given("--allow-any"):
        return added
    rules = [rule.strip() for rule in environ.get("PYPX_ALLOW", "").split(",") if rule.strip()]
    for rule in rules:
        added += ["--allow", rule]
    if rules or given("--allow") or _configured(options):
        return [*added, "--allow", HEALTH_RULE]
    return [*added, "--allow-any"]


def _configured(options: Sequence[str]) -> bool:
    """Whether the configuration says who may send; one that is wrong says the listener itself."""
    from pypx.config import load
    from pypx.errors import ConfigError

    file = None
    for place, option in enumerate(options):
        if option.startswith("--config="):
            file = option.partition("=")[2]
        elif option == "--config":
            file = (*options, None)[place + 1]
    try:
        config = load(file)
    except ConfigError:
        return True
    return bool(config.listen.allow or config.nodes)


def complaint(archive: Path, uid: int) -> str:
    """Say why nothing can be stored, with what to do; empty where it can.

    Args:
        archive: The folder; it may have to be made.
        uid: Who runs this.
    """
    existing = archive
    while not os.access(existing, os.F_OK) and existing != existing.parent:  # also if hidden
        existing = existing.parent
    if os.access(existing, os.W_OK | os.X_OK):
        return ""
    owner = existing.stat().st_uid
    return (
        f"{archive} cannot be written: {existing} belongs to UID {owner}, and this container "
        f"runs as UID {uid}.\n  On the host, give the folder of the volume to that user "
        f"(chown {uid}), or run the container with --user {owner}."
    )


def main() -> int:
    """Become the command."""
    line = command_line(sys.argv[1:])
    options = options_of_listener(line)
    if options is not None and not {"--help", "-h", "--version"} & set(options):
        archive = os.environ.get("PYPX_ARCHIVE", "")
        if (
            "--archive" not in options
            and archive
            and (said := complaint(Path(archive), os.getuid()))
        ):
            sys.stderr.write(f"px-listen: {said}\n")
            return _NO_ARCHIVE
        line += added_options(options, os.environ)
    try:
        os.execvp(line[0], line)
    except OSError as error:
        sys.stderr.write(f"{line[0]} cannot be run: {error.strerror}.\n")
        return _NOT_FOUND


if __name__ == "__main__":
    sys.exit(main())
