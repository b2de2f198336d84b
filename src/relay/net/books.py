"""What of a connection lies in slots, where `relay.net.speedups` finds it.

The other objects that C steps use have slots of their own. This module must not know what is kept
there.
"""

from __future__ import annotations

from aioquic.quic.connection import QuicConnection


class Books(QuicConnection):
    """The library's connection, of which some is in slots: its own, and what is kept beside."""

    __slots__ = (
        "_ack_delay",
        "_ack_eliciting_sent_since_receipt",
        "_acks",
        "_alive_at",
        "_delivered",
        "_dropped",
        "_extras_at",
        "_grant_at",
        "_handed",
        "_heard",
        "_home",
        "_is_client",
        "_is_long_due",
        "_keys",
        "_local_ack_delay_exponent",
        "_local_max_data",
        "_local_max_stream_data_uni",
        "_local_max_streams_bidi",
        "_local_max_streams_uni",
        "_local_next_stream_id_uni",
        "_loss",
        "_max_datagram_size",
        "_most",
        "_mtu",
        "_numbers",
        "_overhead",
        "_owed",
        "_pacing_at",
        "_packet_number",
        "_peer_cid",
        "_rated",
        "_remote_ack_delay_exponent",
        "_remote_max_data",
        "_remote_max_data_used",
        "_remote_max_stream_data_uni",
        "_remote_max_streams_uni",
        "_space",
        "_spin_bit",
        "_spin_highest_pn",
        "_streams",
        "_streams_queue",
        "_unsaid",
        "events",
        "has_news",
        "heard_more",
        "host_cid",
        "is_settled",
        "stirred",
        "wants_room",
    )
