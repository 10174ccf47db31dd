from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dcap.core.errors import StoppedError
from dcap.train import loop
from dcap.train.loop import stop_on_sigterm, train
from dcap.train.setup import prepare
from support.training_runs import RunMaker, assert_same_run, at_step, metrics, run_standard, standard, steps


def test_the_former_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_sigterm() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(60)
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


def test_sigterm_finishes_the_step_saves_and_resumes_to_the_same_bits(
    reference: dict[str, Any], run_config: RunMaker, photo_file: Path
) -> None:
    config = standard(run_config, photo_file)
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(StoppedError, match="stopped by SIGTERM after step 3 and saved; the same command resumes"):
            train(config)
    assert steps(config)[-1] == "step-000003", "the step at hand is the last"
    assert not (Path(config.training.output_dir) / "final").exists()
    assert train(config).step == 5
    assert_same_run(config, run_standard(reference, run_config, photo_file))


@pytest.mark.parametrize("name", ["evaluation", "save"])
def test_sigterm_after_the_last_batch_of_a_validation_or_while_saving_costs_no_further_step(
    run_config: RunMaker, photo_file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config = standard(run_config, photo_file)

    def prepared(*args: Any) -> Any:
        run = prepare(*args)
        owner = run.tracker if name == "evaluation" else run.checkpoints
        original = getattr(owner, name)

        def signalled(*given: Any) -> Any:
            os.kill(os.getpid(), signal.SIGTERM)
            return original(*given)

        object.__setattr__(owner, name, signalled)
        return run

    monkeypatch.setattr(loop, "prepare", prepared)
    with pytest.raises(StoppedError):
        train(config)
    first = 3 if name == "evaluation" else 2
    assert steps(config)[-1] == f"step-{first:06d}"
    assert metrics(config)[-1]["step"] == first


def test_sigterm_saves_even_within_the_delay(run_config: RunMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    config = run_config(training={"save_delay_steps": 100})
    at_step(monkeypatch, 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(StoppedError):
        train(config)
    assert steps(config) == ["step-000001"]


@pytest.mark.parametrize(("step", "batch"), [(3, 2), (5, 6)])  # of the 2 x 4 batches of the two validations
def test_sigterm_during_a_validation_saves_at_once_and_makes_up_for_it(
    reference: dict[str, Any], run_config: RunMaker, photo_file: Path, step: int, batch: int
) -> None:
    config, original = standard(run_config, photo_file), loop.validate
    seen: list[Any] = []

    def interrupted(learner: Any, batches: Any, *given: Any) -> Any:
        def counted() -> Iterator[Any]:
            for each in batches:
                seen.append(each)
                if len(seen) == batch:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield each

        return original(learner, counted(), *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "validate", interrupted)
        with pytest.raises(StoppedError, match=f"after step {step} and saved"):
            train(config)
    assert len(seen) == batch, "no batch more"
    assert steps(config)[-1] == f"step-{step:06d}"
    assert not (Path(config.training.output_dir) / "final").exists()
    assert train(config).step == 5
    assert_same_run(config, run_standard(reference, run_config, photo_file))
