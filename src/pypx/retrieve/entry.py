"""How a PACS reaches us, and what its administrator enters so that it can send to us.

In: our AE title, host and port. Out: text. Not here: who needs it.
"""

from __future__ import annotations

import json
import socket

from pypx.address import Address
from pypx.receiver.allow import is_loopback

__all__ = ["entry_for", "host_towards", "is_here", "seen_from"]

_EVERYWHERE = ("", "0.0.0.0", "::")


def host_towards(peer: Address) -> str:
    """Give the address of this machine from which packets to a peer leave, without sending any."""
    try:
        found = socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, where = found[0]
        with socket.socket(family, kind, protocol) as sock:
            sock.connect(where)
            return str(sock.getsockname()[0])
    except OSError:
        return socket.gethostname()


def is_here(host: str) -> bool:
    """Whether a peer is on this machine; a name that has no address is someone else's error."""
    if is_loopback(host):
        return True
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return True
    for family, *_, where in found:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            try:
                sock.bind((where[0], 0))  # only an address of this machine can be bound
            except OSError:
                continue
            return True
    return False


def seen_from(peer: Address, own: Address, bind: str) -> Address:
    """Give our AE title and address as a peer sees it.

    Args:
        peer: Who looks.
        own: Our AE title, host and port as this machine sees them.
        bind: The address that our listener binds.
    """
    host = bind
    if bind in _EVERYWHERE or (is_loopback(bind) and not is_loopback(peer.host)):
        host = host_towards(peer)
    return Address(own.ae_title, host, own.port)


def entry_for(own: Address) -> str:
    """Give the entry in the words of common PACS, a line each.

    Args:
        own: Our AE title, and the host and port as the PACS sees them.
    """
    title, host, port = own.ae_title, own.host, own.port
    key = "".join(letter for letter in title.lower() if letter.isalnum()) or "pypx"
    device = {
        "dicomDeviceName": key,
        "dicomInstalled": True,
        "dicomNetworkConnection": [{"cn": "dicom", "dicomHostname": host, "dicomPort": port}],
        "dicomNetworkAE": [
            {
                "dicomAETitle": title,
                "dicomAssociationInitiator": True,
                "dicomAssociationAcceptor": True,
                "dicomNetworkConnectionReference": ["/dicomNetworkConnection/0"],
            }
        ],
    }
    lines = (
        ("any PACS", f"AE title {title}, host {host}, port {port}"),
        (
            "Orthanc (orthanc.json)",
            f'"DicomModalities": {{{json.dumps(key)}: {json.dumps([title, host, port])}}}',
        ),
        (f"dcm4chee-arc (POST /dcm4chee-arc/devices/{key})", json.dumps(device)),
        ("DCMTK (dcmqrscp.cfg, HostTable)", f"{key} = ({title}, {host}, {port})"),
    )
    return "\n".join(f"{name}: {text}" for name, text in lines)
