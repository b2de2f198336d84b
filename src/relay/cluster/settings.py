"""What the operator says about links. This module must not know how a link is made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from relay.auth.prefixes import Prefixes
from relay.cluster.address import written
from relay.errors import ConfigError
from relay.path import ROOT


def _addresses(value: Any) -> Any:
    """One relay or several, each as text or as a table."""
    entries = [value] if isinstance(value, str | dict) else value
    if not isinstance(entries, list | tuple):
        return value
    try:
        return tuple(map(written, entries))
    except ConfigError as error:
        raise ValueError(f"expected relays to dial: {error}") from None


class ClusterSettings(BaseModel):
    """``[cluster]``: links to other relays."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    connect: Annotated[tuple[str, ...], BeforeValidator(_addresses)] = ()
    """Relays to dial, each a URL (``https://``, ``moqt://``, ``wss://``, ``tcp://``) with ``?jwt=``
    for a token of its own and ``?cost=`` for the price of pulling from it (1 counts hops), or a
    table ``{url, cost, token}``."""

    connect_api: str | None = None
    """File or URL of more relays to dial, a JSON list of such entries, followed while running."""

    token: Path | None = None
    """File of the token for dialling where the URL brings none; read for each dial, and when it
    changes running links are replaced."""

    node: str | None = None
    """This relay's own URL as others reach it."""

    mesh: bool = False
    """Whether relays find each other: each tells its ``node`` and dials those that sort after."""

    id: int | None = Field(default=None, ge=1, lt=2**62)
    """This relay's number in hop chains; unset: drawn at the start."""

    silence: float = Field(default=4.0, gt=0.5, le=600.0, allow_inf_nan=False)
    """Seconds without a sign of life after which a link that we dialled is lost, on both sides,
    over WebSocket on ours alone; never more than ``quic.idle_timeout``. It takes up to a fifth
    longer, and what was published meanwhile is had another way as long as it is kept: 5 seconds,
    unless its publisher says otherwise."""

    imports: Prefixes = (ROOT,)
    """Prefixes below which relays that we dial may announce to us; what relays tell each other of
    themselves and of revocations is not held back."""

    exports: Prefixes = (ROOT,)
    """Prefixes below which relays that we dial may see what we have; the same holds."""

    @model_validator(mode="before")
    @classmethod
    def _old_mesh(cls, values: Any) -> Any:
        """Upstream's older spelling: ``mesh = "https://…"`` names the node as well, and so does
        ``mesh = "host:4443"``."""
        url = values.get("mesh") if isinstance(values, dict) else None
        if isinstance(url, str) and (":" in url or "." in url):
            if values.get("node", url) != url:
                raise ValueError("expected mesh and node to name the same URL")
            return {**values, "mesh": True, "node": url}
        return values

    @model_validator(mode="after")
    def _named(self) -> ClusterSettings:
        if self.mesh and self.node is None:
            raise ValueError("expected node, the URL to tell others, beside mesh")
        return self
