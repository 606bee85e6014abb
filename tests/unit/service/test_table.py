"""The batch between slices, against plain lists."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.loop import Reader
from unrolled_service.graphs.program import NOT_FORCED, Outcome
from unrolled_service.graphs.sampling import Sampling
from unrolled_service.lanes.table import Table
from unrolled_service.rows.delivery import Delivery
from unrolled_service.rows.row import NOWHERE
from unrolled_service.rows.slice import Samples, Slice
from unrolled_service.rows.text_row import TextRow

PLAIN = Sampling()
SIZE, V, MAX_ROWS, MAX_STEPS = 3, 26, 6, 4
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Probe(TextRow):
    """A row that notes every sample it takes; its state is its number, and the steps that it took."""

    def __init__(
        self, number: int, *, is_watched: bool = False, forced: Sequence[int] = (), sampling: Sampling = PLAIN
    ) -> None:
        super().__init__(
            Reader(),
            lane="",
            session=None,
            sampling=sampling,
            seed=number,
            forced=np.array(forced, np.int64),
            arrived=0.0,
            is_watched=is_watched,
        )
        self.taken = ""
        self.fed: list[int] = []
        self.state = np.array([number, 0, 0], np.float32)

    @property
    def steps_left(self) -> int:
        return 1000

    def take(self, samples: Samples, i: int, record: Slice) -> None:
        self.forced = self.forced[samples.steps :]
        self.take_text(samples.text_of(i, 0, samples.steps), samples, record)

    def take_text(self, text: str, samples: Samples, record: Slice) -> None:  # noqa: ARG002
        self.taken += text
        self.consumed += len(text)

    def tell(self, now: float) -> Delivery | None:
        del now
        return None


@dataclass
class Model:
    """What each running row should have: its samples in order."""

    rows: list[Probe] = field(default_factory=list)
    samples: dict[Probe, str] = field(default_factory=dict)


def run_slice(table: Table, model: Model, steps: int, now: float, chance: np.random.Generator) -> None:
    rows = [row for row in table.arrange([], Slice("")) if isinstance(row, Probe)]
    assert [row.place for row in rows] == list(range(len(rows)))
    assert {*rows} == {*model.rows}
    batch, state = table.batch(rows, steps)
    for row in rows:
        expected = [*row.forced[:steps].tolist(), *[NOT_FORCED] * (steps - len(row.forced[:steps]))]
        assert batch.forced[:, row.place].tolist() == expected
        assert (batch.seed[row.place], state[row.place, 0]) == (row.seed, row.seed)
        assert state[row.place, 1] == len(model.samples[row])
        assert batch.position[row.place] == len(model.samples[row]) + 1
    tokens = chance.integers(0, V, (steps, len(rows)))
    text = "".join(LETTERS[token] for token in tokens.ravel())
    samples = Samples(tokens, None, text, ended_at=now, step_s=0.001)
    for row in rows:
        model.samples[row] += "".join(LETTERS[token] for token in tokens[:, row.place])
    due = table.step(Outcome(tokens, state + np.array([0, steps, 0], np.float32)), samples, Slice(""))
    assert {row for row in rows if row.is_watched or len(row.forced)} <= {*due}
    for each in due:
        assert isinstance(each, Probe)
        assert each.taken == model.samples[each]
    table.plan(now + float(chance.integers(0, 5)))


@settings(max_examples=200)
@given(seed=st.integers(0, 2**32), moves=st.lists(st.sampled_from(["join", "leave", "run", "run"]), max_size=60))
def test_rows_come_and_go_and_miss_nothing(seed: int, moves: list[str]) -> None:
    chance = np.random.default_rng(seed)
    table, model = Table(SIZE, V, MAX_ROWS, MAX_STEPS), Model()
    for number, move in enumerate(moves):
        if move == "join" and len(model.rows) < MAX_ROWS:
            forced = chance.integers(0, 2 * V, chance.integers(0, 7)).tolist()
            row = Probe(number, is_watched=bool(chance.integers(0, 2)), forced=forced)
            model.rows.append(row)
            model.samples[row] = ""
            table.arrange([row], Slice(""))
        elif move == "leave" and model.rows:
            row = model.rows.pop(int(chance.integers(len(model.rows))))
            table.catch_up(row, Slice(""))
            assert row.taken == model.samples[row]
            assert table.state_of(row)[1] == len(row.taken)
            table.leave(row)
            assert row.place == NOWHERE
            if row.taken:
                assert LETTERS[row.token] == row.taken[-1]
        elif move == "run" and model.rows:
            run_slice(table, model, int(chance.integers(1, MAX_STEPS + 1)), float(number), chance)


def test_a_row_that_is_never_due_is_asked_before_its_samples_are_forgotten() -> None:
    table, row = Table(SIZE, V, MAX_ROWS, MAX_STEPS), Probe(0, is_watched=False, forced=[])
    model = Model([row], {row: ""})
    table.arrange([row], Slice(""))
    chance = np.random.default_rng(0)
    asked = 0
    for _ in range(200):
        table.arrange([], Slice(""))
        batch, state = table.batch([row], 2)
        tokens = chance.integers(0, V, (2, 1))
        model.samples[row] += "".join(LETTERS[token] for token in tokens[:, 0])
        text = model.samples[row][-2:]
        samples = Samples(tokens, None, text, ended_at=0.0, step_s=0.001)
        for _ in table.step(Outcome(tokens, state), samples, Slice("")):
            asked += 1
            assert row.taken == model.samples[row]
        table.plan(1e9)
    assert batch.forced.shape == (2, 1)
    assert 200 / 32 <= asked <= 10


def test_only_what_asks_for_more_is_handed_over_as_such() -> None:
    table = Table(SIZE, V, MAX_ROWS, MAX_STEPS)
    rows = [Probe(0), Probe(1, sampling=Sampling(top_k=3)), Probe(2), Probe(3, sampling=Sampling(presence_penalty=1.0))]
    batch, _ = table.batch(table.arrange(rows, Slice("")), 2)

    assert batch.extras is not None
    asking = [rows[1], rows[3]]
    assert batch.extras.rows.tolist() == [row.place for row in asking]
    assert batch.extras.sampling == [row.sampling for row in asking]
    assert batch.extras.target is None

    for row in asking:
        table.leave(row)
    batch, _ = table.batch(table.arrange([], Slice("")), 2)
    assert batch.extras is None
