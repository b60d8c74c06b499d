"""Names and passwords in addresses: used to connect, and never shown, logged or written."""

import re

# Up to the last @: a secret may hold a slash that nobody encoded. A third slash begins a path, without credentials.
_CREDENTIALS = re.compile(r"""(?<=://)(?!/)[^\s'"]*@""")


def without_credentials(text: str) -> str:
    """An address, or any text with addresses in it, without what stands before their host: `http://host/…`."""
    return _CREDENTIALS.sub("", text)
