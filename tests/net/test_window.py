"""Numbers of packets that came: kept as ranges, told apart as the library does."""

from aioquic.quic.recovery import QuicPacketNumberWindow
from hypothesis import given
from hypothesis import strategies as st

from relay.net.window import SIZE, Window

Step = tuple[str, int, int]

steps = st.lists(
    st.one_of(
        st.tuples(st.just("next"), st.integers(0, 3), st.integers(1, 200)),
        st.tuples(st.just("late"), st.integers(0, 300), st.just(1)),
        st.tuples(st.just("ahead"), st.integers(1, 300), st.just(1)),
    ),
    max_size=60,
)


def play(window: Window, library: QuicPacketNumberWindow, largest: int, given: list[Step]) -> int:
    """Have both hear of the same packets; answers the largest number."""
    for kind, gap, count in given:
        if kind == "next":
            begun = largest + 1 + gap
            window.add_next(begun, begun + count)
            for number in range(begun, begun + count):
                library.add(number)
            largest = begun + count - 1
        else:
            number = max(0, largest - gap) if kind == "late" else largest + gap
            window.add(number)
            library.add(number)
            largest = max(largest, number)
    return largest


@given(steps, steps)
def test_it_answers_as_the_library_does(before: list[Step], after: list[Step]) -> None:
    library = QuicPacketNumberWindow()
    largest = play(Window(library), library, -1, before)
    window = Window(library)
    largest = play(window, library, largest, after)
    for number in range(max(0, largest - 4 * SIZE), largest + 10):
        assert (number in window) is (number in library), number


@given(steps)
def test_it_stays_small(given: list[Step]) -> None:
    window = Window(QuicPacketNumberWindow())
    play(window, QuicPacketNumberWindow(), -1, given)
    assert len(window._came) <= SIZE // 2 + 1
