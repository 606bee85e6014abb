"""Drives the asynchronous client from a plain function, so that one test serves both clients."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, Self


class Blocking:
    """Anything asynchronous, with every await done inside of a runner's loop."""

    def __init__(self, target: Any, runner: asyncio.Runner) -> None:
        self._target = target
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if not callable(value):
            return value
        return lambda *args, **options: self._run(value, *args, **options)

    def __enter__(self) -> Any:
        return self._run(self._target.__aenter__)

    def __exit__(self, *raised: object) -> Any:
        return self._run(self._target.__aexit__, *raised)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            return self._run(self._target.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None

    def _run(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        async def call() -> Any:
            result = function(*args, **options)
            return await result if inspect.isawaitable(result) else result

        value = self._runner.run(call())
        if isinstance(value, list):
            return [self._wrap(each) for each in value]
        return self._wrap(value)

    def _wrap(self, value: Any) -> Any:
        is_async = hasattr(value, "__aenter__") or hasattr(value, "__anext__")
        return Blocking(value, self._runner) if is_async else value
