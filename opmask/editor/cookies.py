r"""The cookie by which the server knows a browser again.

Data flow: `line of cookies -> known_browser -> sessions of that browser`.
"""

from __future__ import annotations

import re
from http.cookies import CookieError, SimpleCookie

__all__ = ["COOKIE", "known_browser"]

COOKIE = "opmask_editor"
"""The name of the cookie; its value is drawn at random."""


def known_browser(cookies: str) -> str | None:
    r"""The browser that sent a line of cookies.

    Example:
        >>> known_browser("theme=dark; opmask_editor=" + "x" * 43)
        'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'
        >>> known_browser("opmask_editor=short") is None
        True
    """
    try:
        found = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return None
    return found.value if found and re.fullmatch(r"[\w-]{43}", found.value) else None
