"""What an asynchronous client asks of models: a method for each shape."""

from abc import ABC, abstractmethod
from typing import TypeVar, Unpack

from unrolled_client.answers import Classification, Item
from unrolled_client.async_steps import AsyncSteps
from unrolled_client.async_stream import AsyncStream
from unrolled_client.values import Score
from unrolled_client.wire import requests, sequence_requests
from unrolled_client.wire.calls import StepCall, UnaryCall, WritingCall
from unrolled_client.wire.feed import AsyncGiven
from unrolled_client.wire.options import GenerateOptions, ReadingOptions, ScoreOptions, WritingOptions
from unrolled_client.wire.whereabouts import Whereabouts

Reply = TypeVar("Reply")


class AsyncInference(ABC):
    """The methods of `AsyncClient` that ask a model, from a fresh state on; it says how calls are made."""

    def generate(
        self, prompt: str = "", *, max_tokens: int | None = None, **options: Unpack[GenerateOptions]
    ) -> AsyncStream:
        """Feed the prompt to a fresh state and stream what follows: text, or vectors where the bundle writes those.

        The call begins at once; its errors come out of the stream.

        Args:
            prompt: text to feed first; may be empty where the bundle has a start of its own.
            max_tokens: how many tokens or vectors to generate at most, from 1; None: the length that the bundle says.
            options: condition, prompt_vectors, activations, model, sampling (or temperature, top_k, top_p, min_p,
                repetition_penalty, presence_penalty, frequency_penalty, logit_bias), stop, seed, expected_position,
                logprobs, preempt, priority, resume and timeout in seconds; each None or left out takes the server's
                default. See `wire.options.GenerateOptions`.

        Raises:
            TypeError: an option is unknown or has the wrong type.
            ValueError: a number does not fit its wire type.
        """
        return self._start(requests.generate(prompt, max_tokens=max_tokens, **options))

    def transduce(
        self, source: Item, *, max_tokens: int | None = None, **options: Unpack[WritingOptions]
    ) -> AsyncStream:
        """Read a source and stream the sequence that the model answers it with: text or vectors.

        A break is overcome by writing it again with the same seed; what is there already is compared and passed over.

        Args:
            source: a text, or vectors of numbers; at most 1 MiB.
            max_tokens: how many tokens or vectors to write at most; None: the length that the bundle says.
            options: as of `generate`, as far as they apply: see `wire.options.WritingOptions`. Without any sampling
                the most probable token is taken.

        Raises:
            TypeError: the source is neither a text nor vectors, or an option is unknown or has the wrong type.
            ValueError: a number does not fit its wire type.
        """
        return self._start(sequence_requests.transduce(source, max_tokens=max_tokens, **options))

    def step(self, inputs: AsyncGiven, **options: Unpack[ReadingOptions]) -> AsyncSteps:
        """Answer every input with one output, from a fresh state on.

        The call begins at once; its errors come out of what it returns. Where all inputs are there from the
        beginning, a call that breaks before the first answer is made again.

        Args:
            inputs: a text, or vectors of numbers (lists or arrays), sent in as few messages as can be; or an iterable
                of texts, vectors or groups of vectors, each sent as soon as it is there. It may be asynchronous; one
                that is not is taken on the event loop and must not wait.
            options: model, activations, priority, timeout; see `wire.options.ReadingOptions`.

        Raises:
            TypeError: inputs that are all there are neither text nor vectors.
        """
        call = sequence_requests.step(inputs, **options)
        return self._start_steps(call)

    async def classify(self, inputs: AsyncGiven, **options: Unpack[ReadingOptions]) -> Classification:
        """Read inputs to their end and return the answer to them as a whole.

        Args:
            inputs: as of `step`; at least one, by default at most 65,536.
            options: as of `step`.

        Raises:
            TypeError: the inputs are neither text nor vectors.
            TaskMismatch: the bundle does something else; `method` names what.
        """
        return await self._run(sequence_requests.classify(inputs, **options))

    async def score(self, text: str, **options: Unpack[ScoreOptions]) -> Score:
        """Say how likely the model finds a text.

        Args:
            text: at least two tokens; the first is given, the others are predicted. Where the bundle has a start
                token that is given, and all of the text is predicted.
            options: model, logprobs, per_token, activations, condition, priority, timeout; see
                `wire.options.ScoreOptions`. A long text takes a step of the model for each token.
        """
        return await self._run(requests.score(text, **options))

    @abstractmethod
    def _start(self, call: WritingCall, whereabouts: Whereabouts | None = None) -> AsyncStream:
        """Begin a stream."""

    @abstractmethod
    def _start_steps(self, call: StepCall, whereabouts: Whereabouts | None = None) -> AsyncSteps:
        """Begin to be answered step by step."""

    @abstractmethod
    async def _run(self, call: UnaryCall[Reply]) -> Reply:
        """Make a call that has one reply."""
