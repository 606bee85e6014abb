"""What a window of load saw, and its summary."""

from dataclasses import dataclass, field

from bench.percentiles import percentile, weighted_percentile


@dataclass(frozen=True)
class Report:
    """The summary of a window; durations in seconds, NaN where nothing was seen.

    Attributes:
        chars_per_s: characters that arrived.
        chars_per_message: mean, over messages with text.
        first_p50_s: time to first token, from the (scheduled) sending.
        inter_token_p50_s: time between two messages, divided by the characters of the second and counted for each.
        inter_chunk_p50_s: time between two messages of a stream.
        load_cores: CPU of the load generator as a share of one core.
        server_cpu_s_per_1000_chars: CPU of the server.
        generations: ended, in and outside the window.
        faults: what was wrong with some of them, at most a few.
    """

    chars_per_s: float
    chars_per_message: float
    first_p50_s: float
    first_p99_s: float
    inter_token_p50_s: float
    inter_token_p99_s: float
    inter_chunk_p50_s: float
    inter_chunk_p99_s: float
    load_cores: float
    server_cpu_s_per_1000_chars: float
    generations: int
    faults: list[str]


@dataclass
class Journal:
    """Counts of a window; only what arrives while ``is_open`` counts.

    Attributes:
        firsts_s: times to first token.
        gaps: pairs of the time since the message before and the characters of this one.
    """

    is_open: bool = False
    characters: int = 0
    messages: int = 0
    firsts_s: list[float] = field(default_factory=list)
    gaps: list[tuple[float, int]] = field(default_factory=list)

    def note(self, characters: int, wait_s: float, *, is_first: bool) -> None:
        """Take in a message with text."""
        if not self.is_open:
            return
        self.characters += characters
        self.messages += 1
        if is_first:
            self.firsts_s.append(wait_s)
        else:
            self.gaps.append((wait_s, characters))

    def inter_token_s(self, share: float) -> float:
        """Return a percentile of the time between two tokens."""
        return weighted_percentile(((gap / count, count) for gap, count in self.gaps), share)

    def inter_chunk_s(self, share: float) -> float:
        """Return a percentile of the time between two messages of a stream."""
        return percentile([gap for gap, _ in self.gaps], share)

    def summarize(
        self, elapsed_s: float, load_cpu_s: float, server_cpu_s: float, generations: int, faults: list[str]
    ) -> Report:
        """Return the summary."""
        return Report(
            chars_per_s=self.characters / elapsed_s,
            chars_per_message=self.characters / max(self.messages, 1),
            first_p50_s=percentile(self.firsts_s, 0.5),
            first_p99_s=percentile(self.firsts_s, 0.99),
            inter_token_p50_s=self.inter_token_s(0.5),
            inter_token_p99_s=self.inter_token_s(0.99),
            inter_chunk_p50_s=self.inter_chunk_s(0.5),
            inter_chunk_p99_s=self.inter_chunk_s(0.99),
            load_cores=load_cpu_s / elapsed_s,
            server_cpu_s_per_1000_chars=1000 * server_cpu_s / max(self.characters, 1),
            generations=generations,
            faults=faults,
        )
