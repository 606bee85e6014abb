"""A trial run of a bundle in a process of its own: what crashes, hangs or fills memory does it there.

The process is given a bundle's bytes and does with them what the server is about to do, and runs as many rows side
by side as a slice may have. Its last line says how that went: a fault, or ``ok`` and the sha256 of what it tried;
silence is a refusal. It has no environment but the search paths, cannot write files, and may use a limited
amount of processor time and memory. It is no sandbox: a cell that takes over the runtime has this user's rights.
"""

import json
import os
import resource
import signal
import subprocess  # for one command without a shell  # nosec B404
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from unrolled_service.errors import BundleError
from unrolled_service.graphs.program import Program
from unrolled_service.graphs.rehearsal import rehearse_inputs, rehearse_tokens
from unrolled_service.graphs.runtime import ProgramError
from unrolled_service.models.bundle import Bundle, make_bundle
from unrolled_service.models.contents import Contents, read_contents
from unrolled_service.models.golden import RunDiffers
from unrolled_service.models.limits import Limits
from unrolled_service.settings import Precision, Settings, is_shipped

_KINDS = {"golden": RunDiffers, "invalid": BundleError}
_STEPS = 2
_PATIENCE = 10  # wall-clock seconds for each CPU second, on a machine that has other things to do
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
_OPEN_FILES = 64
_REPORT_CHARACTERS = 2000


def admit_bundle(folder: Path, settings: Settings) -> Bundle:
    """Read a bundle once, try it in a process of its own, and load it from the bytes that were tried.

    A shipped one is not tried: it lies beside the code. This takes seconds: for threads that have them.

    Args:
        folder: where it lies.
        settings: limits and precision.

    Raises:
        BundleError: naming the file and what is wrong with it, or how the trial ended.
    """
    contents = read_contents(folder, settings.precision, Limits.of(settings))
    return admit_contents(contents, settings, is_trusted=is_shipped(folder))


def admit_contents(contents: Contents, settings: Settings, *, is_trusted: bool) -> Bundle:
    """Do what ``admit_bundle`` does, with what was read; what is trusted is not tried."""
    limits = Limits.of(settings)
    if not is_trusted:
        try_bundle(contents, settings.precision, limits)
    return make_bundle(contents, settings.precision, limits)


def try_bundle(contents: Contents, precision: Precision, limits: Limits) -> None:
    """Load and run a bundle in a process of its own.

    Raises:
        BundleError: it is refused there, or the process did not live to say so.
    """
    command = [sys.executable, "-P", "-m", __name__]
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, sys.path))
    with subprocess.Popen(  # noqa: S603  # this interpreter and this module  # nosec B603
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd="/",
        start_new_session=True,
    ) as process:
        try:
            said = _converse(process, contents, precision, limits)
        except subprocess.TimeoutExpired:
            raise BundleError(f"{contents.place}: {_too_long(limits)}") from None
        finally:
            process.kill()
    if process.returncode:
        raise BundleError(f"{contents.place}: {_explain(process.returncode, limits)}")
    last = said.rpartition("\n")[2]
    kind, _, fault = last.partition(" ")
    if kind in _KINDS:
        raise _KINDS[kind](fault[:_REPORT_CHARACTERS])
    if last != f"ok {contents.digest}":
        raise BundleError(f"{contents.place}: its trial run ended without saying how it went")


def exercise(bundle: Bundle, rows: int) -> None:
    """Run as many rows as a slice may have.

    Raises:
        BundleError: what comes out are no states and tokens.
        ProgramError: the runtime cannot run it.
    """
    programs = [bundle.program] if bundle.encoder is None else [bundle.program, bundle.encoder.program]
    for program in programs:
        if isinstance(program, Program):
            chosen = rehearse_tokens(program, rows, _STEPS)
            if chosen.tokens.min() < 0 or chosen.tokens.max() >= len(bundle.vocabulary):
                raise BundleError("chooses tokens outside the vocabulary")
            state = chosen.state
        else:
            state = rehearse_inputs(program, rows, _STEPS).state
        if not np.isfinite(state).all():
            raise BundleError("gives states that are not finite")


def _converse(process: "subprocess.Popen[bytes]", contents: Contents, precision: Precision, limits: Limits) -> str:
    """Give the process its task and return what it says."""
    task = json.dumps({"precision": precision, "limits": asdict(limits)}).encode() + b"\n"
    said, _ = process.communicate(task + contents.pack(), timeout=limits.trial_cpu_s * _PATIENCE)
    return said.decode(errors="replace")


def _explain(status: int, limits: Limits) -> str:
    """Say how a process ended that did not end by itself."""
    if -status in (signal.SIGXCPU, signal.SIGKILL):
        return _too_long(limits)
    if status > 0:
        return f"its trial run ended with status {status}"
    return f"its trial run was ended by {signal.Signals(-status).name}"


def _too_long(limits: Limits) -> str:
    return f"its trial run took longer than {limits.trial_cpu_s:g} s"


def _confine(limits: Limits) -> None:
    """Take from this process what the trial does not need, from now on."""
    used_s = time.process_time()
    with open("/proc/self/statm", encoding="ascii") as statm:
        used_bytes = int(statm.read().split()[0]) * resource.getpagesize()
    for kind, limit in (
        (resource.RLIMIT_CPU, round(used_s + limits.trial_cpu_s + 0.5)),
        (resource.RLIMIT_AS, used_bytes + limits.trial_memory_bytes),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))


def _main() -> None:
    task = json.loads(sys.stdin.buffer.readline())
    limits = Limits(**task["limits"] | {"operators": tuple(task["limits"]["operators"])})
    _confine(limits)
    place = "the bundle"
    try:
        contents = Contents.unpack(sys.stdin.buffer)
        place = contents.place
        bundle = make_bundle(contents, task["precision"], limits)
        exercise(bundle, limits.rows)
        report = f"ok {contents.digest}"
    except MemoryError:
        report = f"invalid {place}: its trial run needs more than {limits.trial_memory_bytes >> 20} MiB"
    except RunDiffers as error:
        report = f"golden {error}"
    except BundleError as error:
        report = f"invalid {error}"
    except ProgramError as error:
        report = f"invalid {place}: {error}"
    sys.stdout.write("\n" + " ".join(report.splitlines()))


if __name__ == "__main__":
    _main()
