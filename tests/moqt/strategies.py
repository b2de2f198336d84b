"""Messages as hypothesis draws them: for each draft in the form in which it carries them."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import strategies as st

from relay.moqt.drafts import Draft
from relay.moqt.messages import (
    ABSOLUTE_RANGE,
    ABSOLUTE_START,
    DELETE,
    LATEST_OBJECT,
    NEXT_GROUP,
    REDIRECT,
    REGISTER,
    USE_ALIAS,
    USE_VALUE,
    ClientSetup,
    Fetch,
    FetchCancel,
    FetchOk,
    Goaway,
    Location,
    MaxRequest,
    NamespaceFound,
    NamespaceGone,
    Publish,
    PublishDone,
    PublishNamespace,
    PublishNamespaceCancel,
    PublishNamespaceDone,
    RequestError,
    RequestOk,
    RequestsBlocked,
    ServerSetup,
    Subscribe,
    SubscribeNamespace,
    SubscribeOk,
    SubscribeUpdate,
    Token,
    TrackStatus,
    Unsubscribe,
    UnsubscribeNamespace,
)
from relay.wire.buffer import MAX_VARINT


def made(cls: Any, *fields: Any, **named: Any) -> st.SearchStrategy[Any]:
    """Of the class, with its defaults for all fields that are not given."""
    return st.tuples(st.tuples(*fields), st.fixed_dictionaries(named)).map(
        lambda drawn: cls(*drawn[0], **drawn[1])
    )


ints = st.integers(0, MAX_VARINT)
u8 = st.integers(0, 255)
orders = st.integers(0, 2)
text = st.text(max_size=12)
blobs = st.binary(max_size=8)
namespaces = st.lists(blobs, max_size=3).map(tuple)
locations = made(Location, ints, ints)
largest = st.none() | locations
none = st.just(None)
tokens = (
    made(Token, st.sampled_from((DELETE, USE_ALIAS)), ints)
    | made(Token, st.just(REGISTER), ints, ints, blobs)
    | made(Token, st.just(USE_VALUE), st.just(0), ints, blobs)
)
starts = {"filter": st.just(ABSOLUTE_START), "start": locations.filter(any)}
codes = ints.filter(lambda code: code != REDIRECT)


@st.composite
def ranges(draw: st.DrawFn) -> tuple[Location, int]:
    groups = st.integers(0, MAX_VARINT - 1)  # draft 14 writes one more
    first, last = sorted((draw(groups), draw(groups)))
    return Location(first, draw(ints)), last


def subscribes(common: dict[str, Any]) -> st.SearchStrategy[Any]:
    """With each filter; 20 and 21 have no other word for "from the first object on" than none."""
    whole = {**common, "priority": u8, "order": orders, "forward": st.booleans(), "timeout": ints}
    fixed = {**whole, "filter": st.sampled_from((NEXT_GROUP, LATEST_OBJECT))}
    return (
        made(Subscribe, **fixed)
        | made(Subscribe, **{**whole, **starts})
        | made(
            lambda span, **values: Subscribe(
                **values, filter=ABSOLUTE_RANGE, start=span[0], end=span[1]
            ),
            ranges(),
            **whole,
        )
    )


def updates(ids: Any, subscriptions: Any, whole: bool) -> st.SearchStrategy[Any]:
    may = (lambda each: each) if whole else (lambda each: st.none() | each)
    rest = (may(u8), may(st.booleans()), st.none() | ints)
    spans = st.tuples(locations.filter(any), none) | ranges()
    if not whole:
        spans |= st.tuples(none, none)
    return st.builds(
        lambda request, of, span, *others: SubscribeUpdate(request, of, *span, *others),
        ids,
        subscriptions,
        spans,
        *rest,
    )


def fetches(common: dict[str, Any], joining: bool) -> st.SearchStrategy[Any]:
    standalone = made(
        lambda span, last, **values: Fetch(**values, start=span[0], end=Location(span[1], last)),
        ranges(),
        ints,
        **common,
        namespace=namespaces,
        track=blobs,
    )
    if not joining:
        return (
            standalone
            | made(Fetch, **common, start=st.none() | locations.filter(any))
            | made(Fetch, **common, relative=ints.map(lambda value: value - 1))
        )
    return (
        standalone
        | made(Fetch, **common, joining=ints, relative=ints)
        | made(Fetch, **common, joining=ints, absolute=ints)
    )


@cache
def kinds(draft: Draft) -> dict[tuple[type, type | None], st.SearchStrategy[Any]]:
    """For each class of the draft, and for answers each request, what it may be."""
    number = draft.number
    ids = st.just(-1) if draft.request_streams else ints
    tracks = {"request": ints, "namespace": namespaces, "track": blobs}
    named, numbered = (namespaces, st.just(-1)) if number <= 15 else (st.just(()), ints)
    order = orders.filter(bool) if number >= 16 else orders
    found: dict[type, st.SearchStrategy[Any]] = {
        ClientSetup: made(
            ClientSetup,
            st.lists(ints, max_size=4).map(tuple) if number == 14 else st.just(()),
            st.none() | text,
            st.none() | text,
            st.lists(tokens, max_size=3).map(tuple),
            st.just(0) if draft.request_streams else ints,
        ),
        ServerSetup: made(
            ServerSetup,
            ints if number == 14 else st.just(0),
            st.just(0) if draft.request_streams else ints,
        ),
        Subscribe: subscribes({**tracks, "patience": ints if number >= 17 else st.just(0)}),
        SubscribeOk: made(
            SubscribeOk,
            ids,
            ints,
            ints,
            order,
            largest,
            ints if draft.request_streams else st.just(0),
        ),
        SubscribeUpdate: updates(
            ints, st.just(-1) if draft.request_streams else ints, number == 14
        ),
        Unsubscribe: made(Unsubscribe, ints),
        PublishDone: made(PublishDone, ids, ints, ints, text),
        PublishNamespace: made(PublishNamespace, ints, namespaces),
        PublishNamespaceDone: made(PublishNamespaceDone, numbered, named),
        PublishNamespaceCancel: made(PublishNamespaceCancel, numbered, named, ints, text),
        SubscribeNamespace: made(SubscribeNamespace, ints, namespaces),
        UnsubscribeNamespace: made(
            UnsubscribeNamespace,
            *((st.just(-1), namespaces) if number == 14 else (ints, st.just(()))),
        ),
        NamespaceFound: made(NamespaceFound, namespaces),
        NamespaceGone: made(NamespaceGone, namespaces),
        Publish: made(
            Publish, **tracks, alias=ints, order=order, largest=largest, forward=st.booleans()
        ),
        Fetch: fetches({"request": ints, "priority": u8, "order": orders}, number <= 19),
        FetchOk: made(
            FetchOk, ids, locations, st.booleans(), orders if number == 14 else st.just(1)
        ),
        FetchCancel: made(FetchCancel, ints),
        TrackStatus: made(TrackStatus, **tracks),
        MaxRequest: made(MaxRequest, ints),
        RequestsBlocked: made(RequestsBlocked, ints),
        Goaway: made(Goaway, text),
    }
    answers = {
        RequestOk: lambda to: made(RequestOk, ids, st.just(to)),
        RequestError: lambda to: made(
            RequestError, ids, st.just(to), codes, text, ints if number >= 16 else st.just(0)
        ),
    }
    return {
        (cls, to): answers[cls](to) if cls in answers else found[cls]
        for cls, to in draft.codecs.written
    }
