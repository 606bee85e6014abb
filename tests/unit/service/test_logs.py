import asyncio
import gc
import io
import json
import logging
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.service.test_calls import Context
from unrolled_service.settings import LogLevel
from unrolled_service.telemetry.access import Brake
from unrolled_service.telemetry.calls import begin_call
from unrolled_service.telemetry.logs import JsonLines, PlainLines, fields, log_loop, start_logging
from unrolled_service.telemetry.outlines import outline

CANARY = "hunter2"
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
OWN = logging.getLogger("unrolled_service.tests")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("unrolled_service")
    hooks = threading.excepthook, sys.excepthook, sys.unraisablehook
    before = root.handlers[:], root.level, own.level
    root.handlers.clear()  # force=True closes those that it finds
    yield
    logging.captureWarnings(False)
    threading.excepthook, sys.excepthook, sys.unraisablehook = hooks
    root.handlers[:], root.level, own.level = before
    root.manager._clear_cache()  # type: ignore[attr-defined]


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def record(message: str, *args: object, **more: Any) -> logging.LogRecord:
    return OWN.makeRecord(OWN.name, logging.INFO, __file__, 1, message, args, more.pop("exc_info", None), extra=more)


def test_a_program_gets_one_object_a_line() -> None:
    stream = io.StringIO()
    start_logging("auto", "info", stream)
    OWN.debug("unheard")
    OWN.info("a %s", "b", extra=fields(model="m", session=None, rows=0))
    try:
        raise RuntimeError("two\nlines")
    except RuntimeError:
        OWN.exception("failed")

    plain, failed = lines_of(stream)
    assert RFC3339.fullmatch(plain.pop("time"))
    assert plain == {"level": "info", "logger": OWN.name, "event": "a b", "model": "m", "rows": 0}
    assert failed["level"] == "error"
    assert failed["exception"].splitlines()[-1] == "RuntimeError"
    assert "two" not in stream.getvalue()


def test_a_person_gets_plain_lines() -> None:
    stream = Terminal()
    start_logging("auto", "debug", stream)
    OWN.debug("a %s", "b", extra=fields(model="m"))
    assert re.fullmatch(rf"{RFC3339.pattern} DEBUG   tests: a b model=m\n", stream.getvalue())


@pytest.mark.parametrize(
    ("log_format", "stream", "is_json"), [("json", Terminal(), True), ("text", io.StringIO(), False)]
)
def test_the_form_can_be_chosen(log_format: Literal["json", "text"], stream: io.StringIO, is_json: bool) -> None:
    start_logging(log_format, "info", stream)
    OWN.info("a")
    assert stream.getvalue().startswith("{") is is_json


def test_libraries_do_not_say_more_than_info() -> None:
    stream = io.StringIO()
    start_logging("json", "debug", stream)
    logging.getLogger("redis").debug("a prompt")
    logging.getLogger("redis").info("one")
    start_logging("json", "warning", stream)
    logging.getLogger("redis").info("none")
    assert [line["event"] for line in lines_of(stream)] == ["one"]


def test_warnings_and_the_end_of_a_thread_are_lines_too() -> None:
    stream = io.StringIO()
    start_logging("json", "info", stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old\nthing", stacklevel=1)
        logging.captureWarnings(False)
    thread = threading.Thread(target=lambda: int(CANARY), name="engine")
    thread.start()
    thread.join()

    warned, ended = lines_of(stream)
    assert "old\nthing" in warned["event"]
    assert (ended["event"], ended["thread"]) == ("a thread broke off", "engine")
    assert ended["exception"].splitlines()[-1] == "ValueError"
    assert CANARY not in stream.getvalue()


@given(st.text(), st.text(min_size=1))
def test_a_record_is_one_line_whatever_is_in_it(event: str, value: str) -> None:
    made = record("%s", event, **fields(said=value))
    written = JsonLines().format(made)
    assert json.loads(written)["event"] == event
    assert json.loads(written)["said"] == value
    for line in (written, PlainLines().format(made)):
        assert line.isprintable()


def test_an_exception_follows_its_line_in_plain_text() -> None:
    try:
        raise RuntimeError("why")
    except RuntimeError:
        made = record("failed", exc_info=sys.exc_info())
    for lines, last in ((PlainLines(), "RuntimeError"), (PlainLines(has_messages=True), "RuntimeError: why")):
        first, second, *_, end = lines.format(made).splitlines()
        assert first.endswith("failed")
        assert second.startswith("Traceback")
        assert end == last


def fail_in_a_chain() -> None:
    text = CANARY
    try:
        try:
            raise KeyError(text)
        except KeyError as error:
            error.add_note(text)
            raise ExceptionGroup(text, [ValueError(text), TypeError(text)]) from error
    except ExceptionGroup:
        int(text)


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_the_words_of_a_chain_of_exceptions_are_for_debugging(
    log_format: Literal["json", "text"], level: LogLevel
) -> None:
    stream = io.StringIO()
    start_logging(log_format, level, stream)
    try:
        fail_in_a_chain()
    except ValueError:
        OWN.exception("failed")
    written = stream.getvalue()
    assert (CANARY in written) is (level == "debug")
    for word in ("KeyError", "ExceptionGroup", "TypeError", "ValueError", "test_logs.py", "in fail_in_a_chain"):
        assert word in written


def test_what_ends_the_process_and_what_nobody_hears_of_are_lines_too() -> None:
    class Careless:
        def __del__(self) -> None:
            int(CANARY)

    stream = io.StringIO()
    start_logging("json", "info", stream)
    careless = Careless()
    del careless
    gc.collect()
    try:
        int(CANARY)
    except ValueError:
        sys.excepthook(*sys.exc_info())

    unheard, ended = lines_of(stream)
    assert (unheard["event"], unheard["level"]) == ("nobody could be told of an exception", "error")
    assert (ended["event"], ended["level"]) == ("the process broke off", "critical")
    assert [line["exception"].splitlines()[-1] for line in (unheard, ended)] == ["ValueError"] * 2
    assert CANARY not in stream.getvalue()


def test_what_the_event_loop_reports_has_no_words_of_callers() -> None:
    async def fail() -> None:
        raise RuntimeError(CANARY)

    async def report() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(log_loop)
        loop.call_soon(int, CANARY)
        task = loop.create_task(fail())
        await asyncio.wait([task])
        del task
        gc.collect()
        loop.call_exception_handler({"message": "odd"})

    stream = io.StringIO()
    start_logging("json", "info", stream)
    asyncio.run(report())
    assert CANARY not in stream.getvalue()
    lines = lines_of(stream)
    assert [line["event"] for line in lines] == [
        "Exception in callback int",
        "Task exception was never retrieved",
        "odd",
    ]
    assert [line["exception"].splitlines()[-1] for line in lines[:2]] == ["ValueError", "RuntimeError"]


def test_a_circle_of_causes_ends() -> None:
    one, other = RuntimeError(), ValueError()
    one.__cause__, other.__cause__ = other, one
    assert [line for line in outline(one).splitlines() if line.endswith("Error")] == ["ValueError", "RuntimeError"]


def test_a_line_tells_its_call() -> None:
    def serve() -> None:
        begin_call("/a/B", Context(("x-request-id", "abc")))
        assert json.loads(JsonLines().format(record("x")))["request_id"] == "abc"
        assert PlainLines().format(record("x")).endswith("x request_id=abc")

    thread = threading.Thread(target=serve)  # has a context of its own
    thread.start()
    thread.join()
    assert "request_id" not in json.loads(JsonLines().format(record("x")))


def test_a_flood_is_held_back_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    brake = Brake(3)
    assert [brake.admit("FULL") for _ in range(5)] == [0, 0, 0, None, None]
    assert brake.admit("OTHER") == 0
    now = 101.5
    assert [brake.admit("FULL") for _ in range(4)] == [2, 0, 0, None]
    now = 109.0
    assert brake.admit("FULL") == 1
