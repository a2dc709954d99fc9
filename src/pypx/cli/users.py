"""``px users``: who may send to our listener with a name and a password.

In: names, and passwords from the terminal or from stdin. Out: a file of hashes.
"""

from __future__ import annotations

import os
import sys

import click

from pypx.cli.command import PxCommand, help_option
from pypx.cli.options import Invocation, common_options
from pypx.cli.output import Output, visible
from pypx.cli.rows import Row, rows_for
from pypx.errors import CancelledError, ConfigError

__all__ = ["command"]

_LONGEST = 4096  # characters of a password


class _UsersGroup(click.Group):
    def get_help_option(self, ctx: click.Context) -> click.Option:
        """Give ``--help``."""
        return help_option()


@click.group("users", cls=_UsersGroup, short_help="Who may send with a name and a password.")
def command() -> None:
    """Show and change the users of our listener: FILE has a name and a hash of the password in
    each line, and is what users = "FILE" in [listen] names. Who has to be one of them is said by
    rules with as USER.

    \b
    px users add alice --file /etc/pypx/users
    px users list --file /etc/pypx/users
    px users remove alice --file /etc/pypx/users
    px listen --users /etc/pypx/users --allow 'CT1@10.1.2.0/24 as alice'
    """


_file_option = click.option(
    "--file", "file", metavar="FILE", help="The users.  [default: as configured in [listen]]"
)


@command.command("list", cls=PxCommand)
@_file_option
@common_options(jsonl=True, csv=True, archive=False, timeout=False)
def list_users(invocation: Invocation, *, file: str | None) -> int:
    """List the users by name."""
    from pypx.receiver.users import read_users

    users = sorted(read_users(_path(invocation, file)))

    def show(out: Output, shown: list[Row]) -> None:
        out.write("".join(f"{visible(str(row['name']))}\n" for row in shown))

    rows = rows_for(invocation.out, ["name"], show)
    for name in users:
        rows.add({"name": name})
    rows.end(None)
    return 0


@command.command("add", cls=PxCommand)
@click.argument("name")
@_file_option
@click.option("--replace", is_flag=True, help="Set another password where the user is there.")
@common_options(archive=False, timeout=False)
def add(invocation: Invocation, *, name: str, file: str | None, replace: bool) -> int:
    """Add the user NAME; the password is asked for, or is the first line of stdin.

    The file is made if there is none. A listener that runs takes it at once.
    """
    from pypx.receiver.users import add_user, check_name

    path = _path(invocation, file)
    name = check_name(name)
    add_user(path, name, _password(name), replace=replace)
    _tell(invocation, {"name": name, "file": path}, f"{name} is a user, in {path}.")
    return 0


@command.command("remove", cls=PxCommand)
@click.argument("name")
@_file_option
@common_options(archive=False, timeout=False)
def remove(invocation: Invocation, *, name: str, file: str | None) -> int:
    """Take a user out."""
    from pypx.receiver.users import remove_user

    path = _path(invocation, file)
    remove_user(path, name)
    _tell(invocation, {"removed": name}, f"{name} is no longer in {path}.")
    return 0


def _path(invocation: Invocation, file: str | None) -> str:
    path = file if file is not None else invocation.config.listen.users
    if not path:
        raise ConfigError(
            "Which file of users?", hint='Give --file FILE, or users = "FILE" in [listen].'
        )
    return os.path.expanduser(path)  # noqa: PTH111


def _password(name: str) -> str:
    """Ask for a password twice, or read it where nobody can be asked."""
    if not sys.stdin.isatty():
        password = sys.stdin.readline(_LONGEST).rstrip("\r\n")
        if not password:
            raise ConfigError("stdin has no password in its first line.")
        return password
    import getpass

    try:
        password = getpass.getpass(f"Password of {name}: ")
        again = getpass.getpass("Once more: ")
    except EOFError:
        raise CancelledError("No password was given.") from None
    if password != again:
        raise ConfigError("The two passwords differ: nothing was changed.")
    return password


def _tell(invocation: Invocation, document: dict[str, str], sentence: str) -> None:
    if invocation.out.form == "json":
        invocation.out.document(document)
    else:
        invocation.out.say(sentence)
