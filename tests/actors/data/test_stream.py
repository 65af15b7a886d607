import pytest

from actors.data.stream import PromptStream


def test_every_epoch_asks_each_row_once_in_its_own_order():
    stream = PromptStream(num_rows=50, seed=3)
    first, second = stream.take(50), stream.take(50)
    rows = [[row for _, row in epoch] for epoch in (first, second)]
    assert sorted(rows[0]) == sorted(rows[1]) == list(range(50))
    assert rows[0] != rows[1] != list(range(50))
    assert [index for index, _ in first + second] == list(range(100))


@pytest.mark.parametrize("cursor", [0, 1, 9, 10, 11, 35])
def test_a_resumed_stream_goes_on_where_it_was(cursor):
    whole = PromptStream(10, seed=1).take(60)
    started = PromptStream(10, seed=1)
    assert started.take(cursor) == whole[:cursor]
    resumed = PromptStream(10, seed=1, cursor=started.cursor)
    assert resumed.take(20) == whole[cursor : cursor + 20]


def test_the_order_depends_on_the_seed_and_not_on_the_sizes_of_the_takes():
    stream = PromptStream(10, seed=1)
    taken = [pair for n in (3, 0, 14, 8) for pair in stream.take(n)]
    assert taken == PromptStream(10, seed=1).take(25)
    assert taken != PromptStream(10, seed=2).take(25)


def test_impossible_streams_are_refused():
    with pytest.raises(ValueError, match="at least one row, got 0"):
        PromptStream(0, seed=0)
    with pytest.raises(ValueError, match="cursor = -1"):
        PromptStream(5, seed=0, cursor=-1)
