import numpy as np

from tests.support.loop import Reader
from unrolled_service.lanes.scheduler import Scheduler
from unrolled_service.rows.generation import Generation
from unrolled_service.rows.slice import Samples, Slice
from unrolled_service.rows.stream import Stream


def make_scheduler(**options: float) -> Scheduler:
    values: dict[str, float] = {"max_rows": 2, "max_steps": 64, "slice_s": 0.010, "pause_s": 0.0, "credit": 10}
    values |= {"turn_s": 2.0, "ageing_s": 10.0}
    return Scheduler(**(values | options))  # type: ignore[arg-type]


def make_stream(prompt: int = 1, max_tokens: int = 1000, max_chunk_tokens: int = 0) -> Stream:
    generation = Generation(np.zeros(prompt, np.int64), max_tokens, max_chunk_tokens=max_chunk_tokens)
    return Stream(
        generation, generation.prompt, Reader(), lane="", vocabulary_size=26, session=None, seed=0, arrived=0.0
    )


def begun(stream: Stream) -> Stream:
    """Return a stream that has had its first token."""
    give(stream, len(stream.forced))
    return stream


def give(stream: Stream, count: int) -> None:
    """Give a stream so many samples."""
    stream.take(make_samples(steps=count), 0, Slice(""))
    stream.tell(0.0)


def make_samples(*, rows: int = 1, steps: int = 1, step_s: float = 0.001) -> Samples:
    return Samples(np.zeros((steps, rows), np.int64), None, "x" * steps * rows, ended_at=0.0, step_s=step_s)


def steps(scheduler: Scheduler, *rows: Stream) -> int:
    return scheduler.steps(rows, max(row.steps_left for row in rows))


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

    assert scheduler.choose(0.0) == streams[:2]
    assert (scheduler.running, scheduler.waiting) == (2, 2)
    assert scheduler.choose(0.0) == []
    scheduler.remove(streams[0])
    assert scheduler.choose(0.0) == [streams[2]]
    scheduler.remove(streams[3])
    assert len(scheduler) == 2


def test_k_is_as_small_as_a_slices_own_cost_allows() -> None:
    rows = [begun(make_stream()) for _ in range(2)]

    assert steps(learn(make_scheduler(), 2, 0.0005, overhead_s=0.000119), *rows) == 8  # 3 % of 4 ms
    assert steps(learn(make_scheduler(), 2, 0.0005, overhead_s=0.0), *rows) == 1


def test_k_never_takes_longer_than_a_slice_should() -> None:
    rows = [begun(make_stream()) for _ in range(2)]

    assert steps(learn(make_scheduler(), 2, 0.001, overhead_s=1.0), *rows) == 10
    assert steps(learn(make_scheduler(), 2, 1.0, overhead_s=1.0), *rows) == 1


def test_k_is_bounded() -> None:
    assert steps(learn(make_scheduler(max_steps=7), 1, 1e-6, overhead_s=1.0), begun(make_stream())) == 7


def test_k_goes_no_further_than_the_last_token_anybody_wants() -> None:
    scheduler = learn(make_scheduler(), 2, 0.0001, overhead_s=1.0)

    assert steps(scheduler, begun(make_stream(max_tokens=4)), begun(make_stream(max_tokens=6))) == 5


def test_a_stream_alone_gets_its_first_token_at_once() -> None:
    scheduler = learn(make_scheduler(), 1, 0.0001, overhead_s=1.0)

    assert steps(scheduler, make_stream(prompt=1)) == 1
    assert steps(scheduler, make_stream(prompt=13)) == 13
    assert steps(scheduler, begun(make_stream())) == 64


def test_a_slice_ends_with_the_first_tokens_that_it_brings() -> None:
    scheduler = learn(make_scheduler(), 2, 0.0005, overhead_s=1.0)
    old = begun(make_stream())

    assert steps(scheduler, old, old) == 20
    assert steps(scheduler, old, make_stream(prompt=16)) == 16
    assert steps(scheduler, make_stream(prompt=11), make_stream(prompt=16)) == 16
    assert steps(scheduler, old, make_stream(prompt=10)) == 10
    assert steps(scheduler, old, make_stream(prompt=9)) == 20
    assert steps(scheduler, old, make_stream(prompt=21)) == 20


def test_a_caller_in_a_hurry_gets_short_slices() -> None:
    scheduler = learn(make_scheduler(), 1, 0.00025, overhead_s=1.0)

    assert steps(scheduler, begun(make_stream(max_chunk_tokens=1))) == 10


def test_text_gathers_longer_where_rows_are_many() -> None:
    scheduler = make_scheduler(pause_s=0.020, credit=1000)

    assert scheduler.pause_s(make_samples(rows=1)) == 0.020
    assert scheduler.pause_s(make_samples(rows=175)) == 0.050
    assert scheduler.pause_s(make_samples(rows=175, step_s=0.00001)) == 0.005  # 500 characters


def test_a_stream_rests_while_its_reader_is_behind() -> None:
    scheduler = make_scheduler()
    reader = Reader(is_eager=False)
    stream = make_stream()
    stream.sink = reader
    scheduler.add(stream)
    scheduler.choose(0.0)
    begun(stream)
    give(stream, 11)

    assert scheduler.settle([stream]) == [stream]
    assert (scheduler.running, scheduler.resting) == (0, 1)
    assert (scheduler.make_way(0.0), scheduler.choose(0.0)) == ([], [])
    reader.delivered = stream.sent - 5
    assert (scheduler.make_way(0.0), scheduler.choose(0.0)) == ([], [stream])
