"""Addresses to listen on, and who can reach them."""

from ipaddress import ip_address

_LOCAL = "localhost"


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of ``host:port``; an IPv6 host stands in brackets.

    Raises:
        ValueError: the text is no such address.
    """
    host, separator, port = address.rpartition(":")
    is_bare_v6 = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if is_bare_v6 or not (separator and host and port.isdecimal() and int(port) < 65536):
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Return whether a host is surely this machine alone; a name other than localhost may be anything."""
    if host.lower() == _LOCAL:
        return True
    try:
        return ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
