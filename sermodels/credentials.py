"""Names and passwords in addresses: used to connect, and never shown, logged or written."""

import re

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")


def without_credentials(text: str) -> str:
    """An address, or any text with addresses in it, without what stands before their host: `http://host/…`."""
    return _CREDENTIALS.sub("", text)
