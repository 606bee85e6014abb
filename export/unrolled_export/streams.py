"""A text cut into contiguous streams that are read side by side in chunks.

```
text     | a b c d e f g h i j k l m n o p |      2 streams, chunk 3
stream 0 | a b c | d e f | (g h)                  the rest is reached by the other epochs' offsets
stream 1 | i j k | l m n | (o p)
```
Within a stream each chunk begins where the one before ended, so a carried state always fits.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unrolled_export.errors import CorpusError


@dataclass(frozen=True)
class Streams:
    """Address the chunks of a text.

    Attributes:
        tokens: int64 `[N]`.
        streams: pieces read side by side, S.
        chunk: time steps of a chunk, T.
        stride: tokens between the beginnings of two streams.
        chunks: chunks of an epoch.
        offsets: number of different offsets an epoch can begin at, 1 to T.
    """

    tokens: Tensor
    streams: int
    chunk: int
    stride: int
    chunks: int
    offsets: int

    @classmethod
    def of(cls, tokens: Tensor, streams: int, chunk: int, *, moving: bool, name: str) -> Streams:
        """Divide `tokens`; with `moving` leave room for offsets below `chunk`.

        Raises:
            CorpusError: fewer than streams x chunk + 1 tokens; the message says how many there are.
        """
        needed, have = streams * chunk + 1, len(tokens)
        if have < needed:
            raise CorpusError(
                f"{name} is too short: {streams} streams x {chunk} steps + 1 needs {needed:,} characters "
                f"to train on, it has {have:,} (use a longer text, fewer --streams or a smaller --chunk)"
            )
        room = min(chunk - 1, have - needed) if moving else 0
        stride = (have - 1 - room) // streams
        return cls(tokens, streams, chunk, stride, stride // chunk, room + 1)

    def read(self, index: int, offset: int) -> tuple[Tensor, Tensor]:
        """Take chunk `index` of an epoch that begins at `offset`.

        Returns:
            Inputs and targets, int64 `[T, S]` each; a target is its input's next token.
        """
        start = offset + index * self.chunk
        rows = self.tokens[start:].unfold(0, self.chunk + 1, self.stride)[: self.streams]
        block = rows.t().contiguous()
        return block[:-1], block[1:]
