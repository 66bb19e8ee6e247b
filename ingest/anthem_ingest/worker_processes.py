"""Worker processes that share numbered work, and that end when their parent ends, in whatever way it does."""

from __future__ import annotations

import os
import signal
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Generic, TypeVar

from anthem_core.errors import AnthemError, BundleError, ClusterError, DataError, ExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from multiprocessing.process import BaseProcess
    from typing import Any

T = TypeVar("T")

JOIN_SECONDS = 5


@dataclass(frozen=True, slots=True)
class WorkOutcome(Generic[T]):
    """Result of one piece of work, or the class and the message of its error; no class means a bug."""

    result: T | None = None
    error: type[AnthemError] | None = None
    message: str = ""


def run_in_processes(work: Callable[[int], T], numbers: Sequence[int], processes: int) -> Generator[T]:
    """Results of `work(number)` for each number, each as soon as it is there.

    `work` must be picklable. Close the iterator to kill the processes; an error and Ctrl-C do so too.

    Raises:
        AnthemError: The error of a worker, or a worker was killed.
        RuntimeError: A worker met a bug; the message is its traceback.
    """
    workers: dict[Connection, BaseProcess] = {}
    waiting = list(reversed(numbers))
    try:
        with _without_interrupts():  # inherited: Ctrl-C reaches the parent alone, which then kills the workers
            for _ in range(min(processes, len(waiting))):
                connection = _start_worker(workers)
                connection.send(work)
                connection.send(waiting.pop())
        while workers:
            for connection in _wait(workers):
                yield _receive(connection, workers[connection])
                if waiting:
                    connection.send(waiting.pop())
                else:
                    connection.close()  # ends the worker
                    workers.pop(connection).join(JOIN_SECONDS)
    finally:
        for process in workers.values():
            process.kill()
        for process in workers.values():
            process.join(JOIN_SECONDS)


def _start_worker(workers: dict[Connection, BaseProcess]) -> Connection:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve_work, args=(theirs,), daemon=True)
    process.start()
    theirs.close()  # so that the end of the worker closes the pipe
    workers[ours] = process
    return ours


def _wait(workers: Mapping[Connection, BaseProcess]) -> list[Connection]:
    """Wait until workers have sent something or ended; returns their connections."""
    return [connection for connection in wait(list(workers)) if isinstance(connection, Connection)]


def _receive(connection: Connection, process: BaseProcess) -> Any:  # noqa: ANN401 (what the work returns)
    try:
        outcome = connection.recv()
    except (EOFError, ConnectionResetError):
        process.join(JOIN_SECONDS)
        raise AnthemError(
            f"One of the processes that share the work ended with exit code {process.exitcode}, and the others were "
            "stopped; -9 may mean that memory ran out. Use fewer --slices, and run this again to continue."
        ) from None
    if outcome.message:
        raise (outcome.error or RuntimeError)(outcome.message)
    return outcome.result


def serve_work(connection: Connection) -> None:
    """Run in a worker: receive the work and numbers, send outcomes, and end when the pipe to the parent is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    inbox: SimpleQueue[bytes] = SimpleQueue()
    Thread(target=_watch_parent, args=(connection, inbox), daemon=True).start()
    work = ForkingPickler.loads(inbox.get())
    with suppress(OSError):  # the parent is gone
        while True:
            connection.send(_run(work, ForkingPickler.loads(inbox.get())))


def _watch_parent(connection: Connection, inbox: SimpleQueue[bytes]) -> None:
    """Pass messages on; end this process at once, whatever it does, when its parent closes the pipe or is killed."""
    with suppress(EOFError, OSError):
        while True:
            inbox.put(connection.recv_bytes())
    os._exit(0)


def _run(work: Callable[[int], T], number: int) -> WorkOutcome[T]:
    try:
        return WorkOutcome(work(number))
    except AnthemError as error:
        # The base classes take a message alone, and can be sent whatever the constructor of a subclass takes.
        kinds = (BundleError, ClusterError, DataError, ExtraError, AnthemError)
        return WorkOutcome(None, next(kind for kind in kinds if isinstance(error, kind)), str(error))
    except Exception:  # noqa: BLE001 (the parent raises it)
        return WorkOutcome(None, None, traceback.format_exc())


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Hold back SIGINT in this thread and in processes that it starts; the thread gets it at the end."""
    resource_tracker.ensure_running()  # the first process would start it, which ends the holding back
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
