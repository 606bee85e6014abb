import numpy as np

from tests.support.loop import Reader
from unrolled_service.program import Outcome
from unrolled_service.scheduler import Scheduler
from unrolled_service.slice import Slice
from unrolled_service.stream import Generation, Stream


def make_scheduler(**options: float) -> Scheduler:
    values: dict[str, float] = {"max_rows": 2, "max_steps": 64, "slice_s": 0.010, "pause_s": 0.0, "credit": 10}
    return Scheduler(**(values | options))  # type: ignore[arg-type]


def make_stream(prompt: int = 1, max_tokens: int = 1000, max_chunk_tokens: int = 0) -> Stream:
    generation = Generation(np.zeros(prompt, np.int64), max_tokens, max_chunk_tokens=max_chunk_tokens)
    return Stream(generation, Reader(), lane="", vocabulary_size=26, session=None, seed=0, arrived=0.0)


def begun(stream: Stream) -> Stream:
    """Return a stream that has had its first token."""
    stream.step(len(stream.forced) - 1)
    give(stream, 1)
    return stream


def give(stream: Stream, count: int) -> None:
    """Give a stream so many samples."""
    outcome = Outcome(np.zeros((count, 1), np.int64), np.zeros((1, 1), np.float32))
    done = Slice("", 1, count, outcome, "x" * count, joined_at=0.0, ended_at=0.0, step_s=0.001, pause_s=0.0, bulk=1)
    stream.take(done, 0)


def learn(scheduler: Scheduler, rows: int, step_s: float, overhead_s: float) -> Scheduler:
    """Let a scheduler see many slices of so many rows, 10 steps each."""
    for _ in range(100):
        scheduler.learn(rows, 10, {"gather": overhead_s / 2, "run": 10 * step_s, "settle": overhead_s / 2})
    return scheduler


def test_streams_wait_for_a_row_in_order() -> None:
    scheduler = make_scheduler()
    streams = [make_stream() for _ in range(4)]
    for stream in streams:
        scheduler.add(stream)

    assert scheduler.choose() == streams[:2]
    assert (scheduler.running, scheduler.waiting) == (2, 2)
    assert scheduler.choose() == []
    scheduler.remove(streams[0])
    assert scheduler.choose() == [streams[2]]
    scheduler.remove(streams[3])
    assert len(scheduler) == 2


def test_k_is_as_small_as_a_slices_own_cost_allows() -> None:
    rows = [begun(make_stream()) for _ in range(2)]

    assert learn(make_scheduler(), 2, 0.0005, overhead_s=0.000119).steps(rows) == 8  # 3 % of 4 ms
    assert learn(make_scheduler(), 2, 0.0005, overhead_s=0.0).steps(rows) == 1


def test_k_never_takes_longer_than_a_slice_should() -> None:
    rows = [begun(make_stream()) for _ in range(2)]

    assert learn(make_scheduler(), 2, 0.001, overhead_s=1.0).steps(rows) == 10
    assert learn(make_scheduler(), 2, 1.0, overhead_s=1.0).steps(rows) == 1


def test_k_is_bounded() -> None:
    assert learn(make_scheduler(max_steps=7), 1, 1e-6, overhead_s=1.0).steps([begun(make_stream())]) == 7


def test_k_goes_no_further_than_the_last_token_anybody_wants() -> None:
    scheduler = learn(make_scheduler(), 2, 0.0001, overhead_s=1.0)

    assert scheduler.steps([begun(make_stream(max_tokens=4)), begun(make_stream(max_tokens=6))]) == 5


def test_a_stream_alone_gets_its_first_token_at_once() -> None:
    scheduler = learn(make_scheduler(), 1, 0.0001, overhead_s=1.0)

    assert scheduler.steps([make_stream(prompt=1)]) == 1
    assert scheduler.steps([make_stream(prompt=13)]) == 13
    assert scheduler.steps([begun(make_stream())]) == 64


def test_a_caller_in_a_hurry_gets_slices_of_a_millisecond() -> None:
    scheduler = learn(make_scheduler(), 1, 0.00025, overhead_s=1.0)

    assert scheduler.steps([begun(make_stream(max_chunk_tokens=1))]) == 4


def test_text_gathers_longer_where_rows_are_many() -> None:
    scheduler = make_scheduler(pause_s=0.020)

    assert scheduler.pause_s(1) == 0.020
    assert scheduler.pause_s(250) == 0.050


def test_a_stream_rests_while_its_reader_is_behind() -> None:
    scheduler = make_scheduler()
    reader = Reader(is_eager=False)
    stream = make_stream()
    stream.sink = reader
    scheduler.add(stream)
    scheduler.choose()
    begun(stream)
    give(stream, 11)

    assert scheduler.settle() == [stream]
    assert (scheduler.running, scheduler.resting) == (0, 1)
    assert scheduler.choose() == []
    reader.delivered = stream.sent - 5
    assert scheduler.choose() == [stream]
