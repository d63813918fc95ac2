"""Signals: what they raise and when, also where Python would ignore it; a second one ends the process at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from pipeline.machine import interruption
from pipeline.machine.interruption import Terminated


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_raises_its_error(number: int, error: type[KeyboardInterrupt]) -> None:
    with interruption.handled(), pytest.raises(error) as caught:
        signal.raise_signal(number)
    assert type(caught.value) is error and interruption.pending() is None


def test_a_deferred_signal_waits_until_it_is_asked_for() -> None:
    with interruption.handled():
        with interruption.deferred():
            signal.raise_signal(signal.SIGTERM)
            assert interruption.pending() == signal.SIGTERM and interruption.is_deferring()
        with pytest.raises(Terminated):
            interruption.check()


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruption.handled():
            signal.raise_signal(signal.SIGINT)
            assert interruption.pending() is None
    finally:
        signal.signal(signal.SIGINT, before)


class Destroyed:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_in_a_destructor_is_not_lost() -> None:
    with interruption.handled(), pytest.raises(Terminated):
        made = Destroyed()
        del made
        for _ in range(1000):
            time.sleep(0.001)


SECOND = """
import os, signal, threading, time
from pipeline.machine import interruption

def send():
    for _ in range(3):  # the second within a moment is the first one again, as schedulers send it twice
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
    print("first", flush=True)
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGTERM)

with interruption.handled(), interruption.deferred():
    threading.Thread(target=send, daemon=True).start()
    time.sleep(60)
"""


def test_a_second_signal_ends_at_once() -> None:
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", SECOND], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (143, "first\n", "")
    assert time.monotonic() - begin < 50
