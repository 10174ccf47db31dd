from __future__ import annotations

import os
import signal
import threading

from dcap.train.stopping import stop_on_sigterm


def test_the_former_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_sigterm() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_there_is_no_handler() -> None:
    entered = []

    def enter() -> None:
        with stop_on_sigterm() as stop:
            entered.append(stop.is_set())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [False]
