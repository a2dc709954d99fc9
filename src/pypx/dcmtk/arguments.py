"""What all of DCMTK's requestors are told: titles, time-outs, PDU length, TLS.

In: what a client knows. Out: arguments, each a text of its own. Not here: what one program alone
takes.
"""

from __future__ import annotations

import math
import ssl

from pypx.address import Address
from pypx.dcmtk.programs import Programs
from pypx.errors import ConfigError
from pypx.net.connection import Timeouts
from pypx.net.tls_settings import ClientTls, ServerTls

__all__ = ["requestor_arguments", "server_tls_arguments"]

_MAXIMUM_LENGTH = 131072  # bytes of a PDU; the most that DCMTK takes
_SPECIAL = ("-", "+", "@")  # what its command line takes for an option, or for a file of arguments


def requestor_arguments(
    programs: Programs,
    program: str,
    address: Address,
    calling_ae_title: str,
    timeouts: Timeouts,
    tls: ClientTls | None,
) -> tuple[list[str], list[str]]:
    """Give the beginning of a command, and the host and port that stand behind the options.

    Raises:
        ConfigError: The program is missing, or something cannot be said to it.
    """
    for what, text in (
        ("AE title", calling_ae_title),
        ("AE title", address.ae_title),
        ("host", address.host),
    ):
        if text.startswith(_SPECIAL):
            raise ConfigError(
                f"DCMTK's {program} would take the {what} {text!r} for an option.",
                hint="--engine native has no such limit.",
            )
    if ":" in address.host:
        raise ConfigError(
            f"DCMTK's programs up to 3.6.7 know no IPv6, and {address.host} is such an address.",
            hint="Give a name or an IPv4 address, or take --engine native.",
        )
    command = [programs.path(program), "-d"]
    command += ["-aet", calling_ae_title, "-aec", address.ae_title]
    command += ["-to", _seconds(timeouts.connect), "-ta", _seconds(timeouts.association)]
    command += ["-pdu", str(_MAXIMUM_LENGTH)]
    if tls is not None:
        if not programs.speaks_tls(program):
            raise ConfigError(
                f"{programs.path(program)} cannot speak TLS, and the node is configured with it.",
                hint="Take --engine native for this, or a newer DCMTK: getscu has it since 3.6.9, "
                "movescu since 3.7.0.",
            )
        command += _tls_arguments(tls)
    return command, [address.host, str(address.port)]


def _seconds(seconds: float) -> str:
    return str(max(1, math.ceil(seconds)))


def _tls_arguments(tls: ClientTls) -> list[str]:
    """Give TLS options; the name in the certificate is nothing that DCMTK looks at.

    Raises:
        ConfigError: Something has no option.
    """
    _check_minimum(tls.minimum)
    arguments = ["+tla"]
    if tls.certificate is not None:
        arguments = ["+tls", tls.key or tls.certificate, tls.certificate]
    if not tls.verify:
        return [*arguments, "-ic"]
    if tls.ca is not None:
        return [*arguments, "+cf", tls.ca]
    system = ssl.get_default_verify_paths()
    if system.cafile is not None:
        return [*arguments, "+cf", system.cafile]
    if system.capath is not None:
        return [*arguments, "+cd", system.capath]
    raise ConfigError(
        "The certificates that this system trusts are not to be found for DCMTK.",
        hint="Name a file of those that you trust: ca of the node's tls.",
    )


def server_tls_arguments(tls: ServerTls) -> list[str]:
    """Give the TLS options of storescp.

    Raises:
        ConfigError: Something has no option.
    """
    _check_minimum(tls.minimum)
    arguments = ["+tls", tls.key or tls.certificate, tls.certificate]
    return [*arguments, "-ic"] if tls.ca is None else [*arguments, "+cf", tls.ca, "-rc"]


def _check_minimum(minimum: str) -> None:
    if minimum != "1.2":
        raise ConfigError(
            f"DCMTK has no option for TLS {minimum} and nothing older.",
            hint="Take --engine native, or leave tls.minimum out.",
        )
