"""A signal to stop: at once, or, in the middle of training, when the next checkpoint is written."""

import signal
import threading
from types import FrameType

# kill, Ctrl-C, and what SLURM sends ahead of a time limit (`--signal`) or of a preemption.
_NAMES = ("SIGTERM", "SIGINT", "SIGUSR1")
_SIGNALS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


class Stopped(SystemExit):
    """The end of a process that was asked to stop; its exit code is 128 and the signal's number.

    Neither an `Exception`, which a sweep would count as a job that failed, nor `KeyboardInterrupt`,
    which Lightning turns into the exit code 1.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number).name


def stop_at_once() -> None:
    """From now on, a signal ends the process with `Stopped`."""
    _handle(lambda number, frame: _raise(number))


class DeferredStop:
    """Keeps a signal until somebody asks for it. A second one ends the process at once.

    Attributes:
        received: the number of the first signal; None if there was none.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, object] = {}

    def begin(self) -> None:
        """Take the signals' handlers over."""
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}
        _handle(self._receive)

    def end(self) -> None:
        """Give them back."""
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._before.items():
                signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            _raise(number)
        self.received = number


def _handle(handler: object) -> None:
    if threading.current_thread() is threading.main_thread():  # else Python refuses
        for number in _SIGNALS:
            signal.signal(number, handler)  # type: ignore[arg-type]


def _raise(number: int) -> None:
    raise Stopped(number)
