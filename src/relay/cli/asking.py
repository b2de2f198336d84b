"""One HTTP question to a running relay, and why there was no answer, in plain words.

The law: what the network said is passed on, an address never, since it may hold a token. This
module must not know what is asked.
"""

from __future__ import annotations

import ssl
from typing import Any

import httpx

from relay.errors import RelayError, in_words


def ask(method: str, url: str, of: str = "", **options: Any) -> httpx.Response:
    """The answer, whatever it is; ``of`` is whose, for people. Raises `RelayError`.

    HTTPS trusts the system's authorities, or those of ``SSL_CERT_FILE``.
    """
    nobody = f"no answer from {of}" if of else "no answer"
    try:
        is_plain = httpx.URL(url).scheme == "http"  # however somebody wrote it
        verify = False if is_plain else ssl.create_default_context()
        return httpx.request(method, url, verify=verify, **options)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        text = in_words(error)
        if "CERTIFICATE_VERIFY_FAILED" in text:
            text += "; SSL_CERT_FILE=ca.pem names an authority that the system does not know"
        raise RelayError(f"{nobody}: {text}") from None
