"""The latest events of a period: as a list would keep them, whatever the batches and however small the ring."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.watching import coded_rows

from amiss.events import CODED_SCHEMA
from amiss.recent import Recent

rows = st.lists(
    st.tuples(st.just(0), st.integers(0, 3_600), st.integers(0, 5), st.integers(0, 3), st.integers(0, 2)), max_size=90
)


@given(rows, st.lists(st.integers(0, 90), max_size=8), st.integers(1, 100), st.integers(0, 40))
def test_the_events_of_a_user_are_those_of_a_list(events, places, most, of_user):
    """The last `most` of all are kept; of these, a user's last `of_user` come back in order."""
    frame, recent = coded_rows(events), Recent(most)
    edges = sorted([0, len(frame), *(place % (len(frame) + 1) for place in places)])
    for low, high in pairwise(edges):
        recent.add(frame[low:high])
    kept = frame.tail(most)
    assert len(recent) == len(kept)
    for user in range(7):
        expected = kept.filter(user=user)
        assert recent.of(user).equals(expected)
        assert recent.of(user, of_user).equals(expected.tail(of_user))
        assert recent.of(user).schema == CODED_SCHEMA


def test_a_ring_grows_as_events_come():
    """Thousands of events in one batch, then one by one: all there, up to the most that are kept."""
    frame, recent = coded_rows((0, n, n % 3, n % 5, n % 2) for n in range(10_000)), Recent(9_000)
    recent.add(frame[:5_000])
    recent.add(frame[5_000:9_990])
    for at in range(9_990, 10_000):
        recent.add(frame[at : at + 1])
    for user in range(3):
        assert recent.of(user).equals(frame[1_000:].filter(user=user))


def test_users_who_did_nothing_have_no_events():
    """Of a code never seen, and of one below the highest."""
    recent = Recent()
    assert recent.of(3).is_empty()
    recent.add(coded_rows([(0, 1, 50, 0, 0)]))
    assert recent.of(3).is_empty()
    assert recent.of(1_000_000).is_empty()
    assert len(recent.of(50)) == 1


def test_arrays_are_as_good_as_frames():
    """Columns as the in-process session has them."""
    one, other = Recent(), Recent()
    frame = coded_rows([(0, 5, 2, 3, 1), (0, 6, 1, 0, 0), (0, 7, 2, 1, 2)])
    one.add(frame)
    other.add_arrays(
        frame["time"].to_physical().to_numpy(),
        frame["position"].to_numpy(),
        frame["user"].to_numpy(),
        np.array([10, 0, 5], dtype=np.int32),
    )
    assert one.of(2).equals(other.of(2))
