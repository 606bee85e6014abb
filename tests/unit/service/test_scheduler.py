import numpy as np

from tests.support.loop import Reader
from unrolled_service.program import Outcome
from unrolled_service.scheduler import Scheduler
from unrolled_service.stream import Generation, Stream


def make_scheduler(**options: float) -> Scheduler:
    values: dict[str, float] = {"max_rows": 2, "max_steps": 64, "slice_s": 0.010, "credit": 10} | options
    return Scheduler(**values)  # type: ignore[arg-type]


def make_stream(prompt: int = 1, max_tokens: int = 1000, max_chunk_tokens: int = 0) -> Stream:
    generation = Generation(np.zeros(prompt, np.int64), max_tokens, max_chunk_tokens=max_chunk_tokens)
    return Stream(generation, Reader(), lane="", vocabulary_size=26, session=None, slot=0, seed=0, arrived=0.0)


def begun(stream: Stream) -> Stream:
    """Return a stream that has had its first token."""
    stream.step(len(stream.forced), 0)
    give(stream, 1)
    return stream


def give(stream: Stream, count: int) -> None:
    """Give a stream so many samples."""
    nothing, none = np.empty(0, np.float32), np.empty(0, np.int64)
    outcome = Outcome(np.zeros((count, 1), np.int64), [], nothing, nothing, none)
    stream.take("x" * count, outcome, 0, 0, count, 0.0)


def test_streams_wait_for_a_row_in_order() -> None:
    scheduler = make_scheduler()
    streams = [make_stream() for _ in range(4)]
    for stream in streams:
        scheduler.add(stream)

    assert scheduler.choose() == streams[:2]
    assert (scheduler.running, scheduler.waiting) == (2, 2)
    scheduler.remove(streams[0])
    assert scheduler.choose() == streams[1:3]
    scheduler.remove(streams[3])
    assert len(scheduler) == 2


def test_k_fills_the_time_that_a_slice_should_take() -> None:
    scheduler = make_scheduler()
    rows = [begun(make_stream())]
    for _ in range(100):
        scheduler.learn(1, 10, 0.010, 0.0)

    assert scheduler.steps(rows) == 10


def test_k_is_bounded() -> None:
    scheduler = make_scheduler(max_steps=7)
    for _ in range(100):
        scheduler.learn(1, 1, 1e-6, 0.0)
    assert scheduler.steps([begun(make_stream())]) == 7
    for _ in range(100):
        scheduler.learn(1, 1, 1.0, 0.0)
    assert scheduler.steps([begun(make_stream())]) == 1


def test_k_goes_no_further_than_the_last_token_anybody_wants() -> None:
    scheduler = make_scheduler()

    assert scheduler.steps([begun(make_stream(max_tokens=4)), begun(make_stream(max_tokens=6))]) == 5


def learned(overhead_s: float) -> Scheduler:
    """Return a scheduler whose steps take 0.5 ms and whose slices cost so much beside."""
    scheduler = make_scheduler()
    for rows in (1, 2):
        for _ in range(100):
            scheduler.learn(rows, 10, 0.005, overhead_s)
    return scheduler


def test_a_slice_ends_at_a_first_token_if_it_is_cheap_to_end_it() -> None:
    scheduler = learned(overhead_s=0.0)
    old = begun(make_stream())

    assert scheduler.steps([old, old]) == 20
    assert scheduler.steps([old, make_stream(prompt=1)]) == 1
    assert scheduler.steps([old, make_stream(prompt=13)]) == 13
    assert scheduler.steps([old, make_stream(prompt=50)]) == 20


def test_a_slice_is_not_cut_so_short_that_its_own_cost_counts() -> None:
    scheduler = learned(overhead_s=0.0002)  # a twentieth of 4 ms, 8 steps

    assert scheduler.steps([begun(make_stream()), make_stream(prompt=1)]) in (7, 8)
    assert scheduler.steps([begun(make_stream()), make_stream(prompt=12)]) == 12
    assert scheduler.steps([make_stream(prompt=1)]) == 1


def test_a_caller_in_a_hurry_gets_short_slices() -> None:
    scheduler = learned(overhead_s=0.0002)
    hurried = begun(make_stream(max_chunk_tokens=1))

    assert scheduler.steps([hurried]) == 1
    assert scheduler.steps([begun(make_stream()), hurried]) in (7, 8)


def test_a_stream_rests_while_its_reader_is_behind() -> None:
    scheduler = make_scheduler()
    reader = Reader(is_eager=False)
    stream = make_stream()
    stream.sink = reader
    scheduler.add(stream)
    scheduler.choose()
    begun(stream)
    give(stream, 11)

    scheduler.settle()
    assert (scheduler.running, scheduler.resting) == (0, 1)
    assert scheduler.choose() == []
    reader.delivered = stream.sent - 5
    assert scheduler.choose() == [stream]
