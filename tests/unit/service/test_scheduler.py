import numpy as np

from tests.support.loop import Reader
from unrolled_service.lanes.pace import Pace
from unrolled_service.lanes.scheduler import Scheduler
from unrolled_service.rows.generation import Generation
from unrolled_service.rows.reading import Reading, ReadingRow
from unrolled_service.rows.row import Row
from unrolled_service.rows.sequence_row import Part
from unrolled_service.rows.slice import Samples, Slice
from unrolled_service.rows.stream import Stream
from unrolled_service.tenants.terms import Terms


def make_scheduler(**options: float) -> Scheduler:
    values: dict[str, float] = {"max_rows": 2, "max_steps": 64, "slice_s": 0.010, "pause_s": 0.0, "credit": 10}
    values |= {"turn_s": 2.0, "ageing_s": 10.0}
    values |= options
    return Scheduler(Pace(int(values["max_rows"]), {}), **values)  # type: ignore[arg-type]


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


def choose(scheduler: Scheduler, now: float = 0.0) -> list[Row]:
    """Let a slice begin; return who got a row."""
    scheduler.make_way(now)
    return scheduler.choose(now)


def steps(scheduler: Scheduler, *rows: Stream) -> int:
    return scheduler.steps(rows, [row.steps_left for row in rows], rows)


def learn(scheduler: Scheduler, rows: int, step_s: float, overhead_s: float) -> Scheduler:
    """Let a scheduler see many slices of so many rows, 10 steps each."""
    for _ in range(100):
        scheduler.pace.learn(rows, 10, {"gather": overhead_s / 2, "run": 10 * step_s, "settle": overhead_s / 2})
    return scheduler


def test_streams_wait_for_a_row_in_order() -> None:
    scheduler = make_scheduler()
    streams = [make_stream() for _ in range(4)]
    for stream in streams:
        scheduler.add(stream)

    assert choose(scheduler) == streams[:2]
    assert (scheduler.running, scheduler.waiting) == (2, 2)
    assert choose(scheduler) == []
    scheduler.remove(streams[0])
    assert choose(scheduler) == [streams[2]]
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


def test_the_longest_slice_grows_with_its_rows_beyond_a_hundred() -> None:
    for rows, expected in ((100, 5), (101, 5), (200, 10), (256, 13)):
        scheduler = learn(make_scheduler(max_rows=256, slice_s=0.005), rows, 0.001, overhead_s=1.0)
        assert steps(scheduler, *[begun(make_stream()) for _ in range(rows)]) == expected


def test_slices_are_half_as_long_while_tenants_compete_for_places() -> None:
    pace = Pace(4, {1: 0.001, 2: 0.001, 4: 0.002})  # the other two places bring nothing
    scheduler = Scheduler(
        pace, max_rows=4, max_steps=64, slice_s=0.010, pause_s=0.0, credit=10, turn_s=2.0, ageing_s=10.0
    )
    learn(scheduler, 2, 0.001, overhead_s=1.0)
    streams = [make_stream() for _ in range(6)]
    for stream in streams:
        scheduler.add(stream)
    choose(scheduler)
    rows = [begun(make_stream()) for _ in range(2)]

    assert steps(scheduler, *rows) == 10
    modest = make_stream()
    modest.terms = Terms("modest")
    scheduler.add(modest)
    choose(scheduler)
    assert scheduler.running == 2
    assert steps(scheduler, *rows) == 5


def test_k_is_bounded() -> None:
    assert steps(learn(make_scheduler(max_steps=7), 1, 1e-6, overhead_s=1.0), begun(make_stream())) == 7


def test_k_goes_no_further_than_the_last_token_anybody_wants() -> None:
    scheduler = learn(make_scheduler(), 2, 0.0001, overhead_s=1.0)

    assert steps(scheduler, begun(make_stream(max_tokens=4)), begun(make_stream(max_tokens=6))) == 5


def test_a_slice_ends_where_rows_end_if_that_saves_more_than_a_slice_costs() -> None:
    scheduler = learn(make_scheduler(), 4, 0.0005, overhead_s=0.0015)  # as much as three steps

    def steps_until(*ends: int) -> int:
        return steps(scheduler, *(begun(make_stream(max_tokens=1 + end)) for end in ends))

    assert steps_until(99, 99, 99, 99) == 20
    assert steps_until(10, 10, 10, 99) == 10
    assert steps_until(10, 99, 99, 99) == 10
    assert steps_until(4, 99, 99, 99) == 20
    assert steps_until(1, 1, 99, 99) == 20
    assert steps_until(1, 1, 1, 1) == 1


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


def test_text_gathers_longer_still_where_more_streams_want_to_run_than_may() -> None:
    scheduler = make_scheduler(max_rows=1, pause_s=0.020, credit=1000)
    streams = [make_stream(), make_stream()]
    for stream in streams:
        scheduler.add(stream)
    choose(scheduler)

    assert scheduler.pause_s(make_samples(rows=150)) == 0.150
    assert scheduler.pause_s(make_samples(rows=15)) == 0.020
    scheduler.remove(streams[0])
    choose(scheduler)
    assert scheduler.pause_s(make_samples(rows=175)) == 0.050


def test_streams_that_wait_because_a_few_begin_at_a_time_are_no_crowd() -> None:
    scheduler = make_scheduler(max_rows=64, pause_s=0.020, credit=1000)
    for _ in range(64):
        scheduler.add(make_stream())
    choose(scheduler)

    assert scheduler.waiting > 0
    assert not scheduler.is_crowded
    assert scheduler.pause_s(make_samples(rows=175)) == 0.050


def test_a_stream_rests_while_its_reader_is_behind() -> None:
    scheduler = make_scheduler()
    reader = Reader(is_eager=False)
    stream = make_stream()
    stream.sink = reader
    scheduler.add(stream)
    choose(scheduler)
    begun(stream)
    give(stream, 11)

    assert scheduler.settle([stream]) == [stream]
    assert (scheduler.running, scheduler.resting) == (0, 1)
    assert choose(scheduler) == []
    reader.delivered = stream.sent - 5
    assert choose(scheduler) == [stream]


def make_reading(inputs: int, *, is_eager: bool = True) -> ReadingRow:
    reading = Reading(np.zeros(inputs, np.int64), is_stepwise=True)
    return ReadingRow(reading, Reader(is_eager=is_eager), lane="", session=None, arrived=0.0)


def answer(row: ReadingRow, count: int, *, is_read: bool = True) -> None:
    """Let a row take so many steps, and its reader what comes of them."""
    row.take(Part(np.zeros((count, 2), np.float32), np.zeros((count, 0), np.float32), 0.0, 0.001), Slice(""))
    row.tell(0.0)
    if is_read:
        row.sink.delivered = row.sent


def test_a_row_without_inputs_waits_until_it_is_fed() -> None:
    scheduler, row = make_scheduler(), make_reading(0)
    scheduler.add(row)

    assert choose(scheduler) == []
    assert (len(scheduler), scheduler.resting, scheduler.waiting) == (1, 1, 0)
    assert list(scheduler) == [row]
    row.feed(np.zeros(3, np.int64))
    scheduler.feed(row)
    scheduler.feed(row)
    assert choose(scheduler) == [row]
    answer(row, 2)
    assert scheduler.settle([row]) == []
    answer(row, 1)
    assert scheduler.settle([row]) == [row]
    assert (scheduler.running, scheduler.resting) == (0, 1)
    scheduler.remove(row)
    scheduler.feed(row)
    assert len(scheduler) == 0


def test_a_row_that_is_fed_while_it_runs_goes_on() -> None:
    scheduler, row = make_scheduler(), make_reading(1)
    scheduler.add(row)
    choose(scheduler)

    row.feed(np.zeros(1, np.int64))
    scheduler.feed(row)
    answer(row, 1)

    assert scheduler.settle([row]) == []
    assert (scheduler.running, scheduler.waiting) == (1, 0)


def test_a_row_whose_reader_is_behind_and_that_has_no_inputs_waits_for_the_one_and_then_the_other() -> None:
    scheduler, row = make_scheduler(), make_reading(20, is_eager=False)
    scheduler.add(row)
    choose(scheduler)
    answer(row, 20, is_read=False)

    assert scheduler.settle([row]) == [row]
    assert choose(scheduler) == []
    row.sink.delivered = row.sent
    assert choose(scheduler) == []
    assert scheduler.resting == len(scheduler) == 1
    row.feed(np.zeros(1, np.int64))
    scheduler.feed(row)
    assert choose(scheduler) == [row]


def test_a_row_that_is_fed_before_its_reader_is_back_runs_when_it_is() -> None:
    scheduler, row = make_scheduler(), make_reading(20, is_eager=False)
    scheduler.add(row)
    choose(scheduler)
    answer(row, 20, is_read=False)
    scheduler.settle([row])

    row.feed(np.zeros(1, np.int64))
    scheduler.feed(row)
    assert choose(scheduler) == []
    row.sink.delivered = row.sent
    assert choose(scheduler) == [row]


def test_a_reader_that_catches_up_while_it_is_looked_at_leaves_no_stream_behind() -> None:
    class Hasty(Stream):
        looks = 0

        @property
        def unread(self) -> int:
            self.looks += 1
            return 100 if self.looks == 1 else 0

    scheduler, generation = make_scheduler(), Generation(np.zeros(1, np.int64), 1000)
    stream = Hasty(
        generation, generation.prompt, Reader(), lane="", vocabulary_size=26, session=None, seed=0, arrived=0.0
    )
    scheduler.add(stream)
    choose(scheduler)

    assert scheduler.settle([stream]) == [stream]
    assert choose(scheduler) == [stream]


def test_a_row_that_ends_with_nothing_left_is_over_at_once() -> None:
    row = make_reading(0)
    row.end()

    assert row.is_finished
    assert not row.is_starved
    news = row.tell(0.0)
    assert news
    assert news.finish
    late = make_reading(2)
    late.end()
    assert not late.is_finished
    answer(late, 2)
    assert late.is_finished


class QuickReader(Reader):
    """A reader that has read everything by the time it is asked again."""

    _position: int
    most: int

    @property
    def delivered(self) -> int:
        position, self._position = self._position, self.most
        return position

    @delivered.setter
    def delivered(self, position: int) -> None:
        self._position = self.most = position


def test_a_row_whose_reader_catches_up_at_that_moment_goes_on() -> None:
    for row in (begun(make_stream()), make_reading(30)):
        scheduler, reader = make_scheduler(), QuickReader()
        row.sink = reader
        scheduler.add(row)
        choose(scheduler)
        if isinstance(row, ReadingRow):
            answer(row, 20, is_read=False)
        else:
            give(row, 20)
        reader.delivered, reader.most = 0, row.sent

        assert scheduler.settle([row]) == [row]
        assert choose(scheduler) == [row]


def test_streams_begin_by_what_a_slice_has_of_them() -> None:
    scheduler = learn(make_scheduler(max_rows=128), 64, step_s=0.001, overhead_s=0.0)  # ten steps fit into a slice
    streams = [make_stream(max_tokens=40) for _ in range(64)]
    for stream in streams:
        scheduler.add(stream)

    assert choose(scheduler) == streams[:20]  # a quarter of them would end in a slice; never all of them begin in one
