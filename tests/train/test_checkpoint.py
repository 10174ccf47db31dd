from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dcap.answers.profile import load_profile
from dcap.core.config import build
from dcap.core.errors import CheckpointError
from dcap.core.files import point_at
from dcap.core.manifest import STATE_MARKER
from dcap.data.config import resolve_profile
from dcap.data.sample_losses import epoch_file, losses_folder
from dcap.train import resume
from dcap.train.checkpoint import Checkpoints, delete_surplus, set_aside
from dcap.train.config import RunConfig
from dcap.train.resume import all_checkpoints, find_start, newest_checkpoint
from dcap.train.state import RunState
from dcap.train.step import Learner


@pytest.fixture
def checkpoints(
    run_config: Callable[..., RunConfig], make_learner: Callable[..., Learner], micro_folder: Path
) -> Checkpoints:
    config = run_config(training={"save_total_limit": 2})
    learner = make_learner(model={"adapter": config.model.adapter})
    return Checkpoints(config, resolve_profile(config.data), str(micro_folder), learner)


def steps(output: Path) -> list[str]:
    return [path.name for path in all_checkpoints(output)]


def restored(checkpoints: Checkpoints) -> RunState:
    """Go on as a run does: find the checkpoint, check it, load it."""
    return checkpoints.restore(find_start(checkpoints.config, checkpoints.learner.accelerator.num_processes))


def state(step: int) -> RunState:
    return RunState(step=step, epoch=1, step_in_epoch=step, epochs_done=1.5, tokens=99, samples=7, best_value=0.25)


def test_a_checkpoint_holds_all_that_is_promised_and_no_pickle(checkpoints: Checkpoints) -> None:
    folder = checkpoints.save(state(100))
    assert folder == checkpoints.output / "checkpoints" / "step-000100"
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert files == {
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "optimizer.safetensors",
        "rng.safetensors",
        "config.yaml",
        "answer_profile.json",
        "trainer_state.json",
    }
    assert load_profile(folder) == checkpoints.profile
    meta = json.loads((folder / STATE_MARKER).read_text())
    assert set(meta["files"]) == files - {STATE_MARKER}


def test_state_and_random_numbers_come_back(checkpoints: Checkpoints) -> None:
    checkpoints.save(state(3))
    expected = torch.rand(4)
    torch.rand(9)
    assert restored(checkpoints) == state(3)
    assert torch.equal(torch.rand(4), expected)


def test_the_best_of_another_metric_is_forgotten(checkpoints: Checkpoints) -> None:
    checkpoints.save(state(3))
    training = replace(checkpoints.config.training, best_metric="eval/token_accuracy")
    other = replace(checkpoints, config=replace(checkpoints.config, training=training))
    assert restored(other) == replace(state(3), best_value=None)


def test_the_best_over_other_records_is_forgotten(checkpoints: Checkpoints) -> None:
    checkpoints.save(state(3))
    config = checkpoints.config
    for val, best in ((config.data.val, 0.25), (config.data.train, None)):
        other = replace(checkpoints, config=replace(config, data=replace(config.data, val=val)))
        assert restored(other) == replace(state(3), best_value=best)
    other = replace(checkpoints, config=replace(config, training=replace(config.training, eval_limit=5)))
    assert restored(other) == replace(state(3), best_value=None)


def test_a_new_run_starts_at_nothing(checkpoints: Checkpoints) -> None:
    assert restored(checkpoints) == RunState()


def test_the_newest_and_the_best_are_kept(checkpoints: Checkpoints) -> None:
    output = checkpoints.output
    for step, best in ((2, False), (4, True), (6, False), (8, False), (10, False)):
        checkpoints.save(state(step), best)
    assert steps(output) == ["step-000004", "step-000008", "step-000010"]
    assert (output / "best").resolve() == output.resolve() / "checkpoints" / "step-000004"
    assert (output / "best" / "adapter" / "adapter_config.json").is_file()
    checkpoints.save(state(12), best=True)
    assert steps(output) == ["step-000010", "step-000012"]
    assert (output / "best").readlink() == Path("checkpoints/step-000012"), "the run folder may be moved"


def test_a_limit_of_one_keeps_the_best_beside(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        (tmp_path / "checkpoints" / f"step-{step:06d}").mkdir(parents=True)
    point_at(tmp_path / "best", tmp_path / "checkpoints" / "step-000001")
    delete_surplus(tmp_path, 1)
    assert steps(tmp_path) == ["step-000001", "step-000003"]


def test_saving_a_step_again_replaces_it(checkpoints: Checkpoints) -> None:
    checkpoints.save(state(2))
    checkpoints.save(RunState(step=2, tokens=5))
    assert restored(checkpoints).tokens == 5


@pytest.mark.parametrize("damage", ["optimizer.safetensors", "adapter/adapter_model.safetensors", STATE_MARKER])
def test_a_torn_checkpoint_is_passed_over(checkpoints: Checkpoints, damage: str) -> None:
    good, torn = checkpoints.save(state(2)), checkpoints.save(state(4))
    data = (torn / damage).read_bytes()
    (torn / damage).write_bytes(data[: len(data) // 2])
    (checkpoints.output / "checkpoints" / ".writing-step-000006").mkdir()
    assert newest_checkpoint(checkpoints.output) == good
    with pytest.raises(CheckpointError, match=r"step-000004 must"):
        restored(resumed(checkpoints, resume=str(torn)))
    assert restored(checkpoints).step == 2
    assert steps(checkpoints.output) == ["step-000002"], "a torn one must not count as the newest"


def test_all_torn_is_a_new_start(checkpoints: Checkpoints) -> None:
    (checkpoints.save(state(2)) / STATE_MARKER).unlink()
    assert restored(checkpoints) == RunState()
    assert steps(checkpoints.output / "previous-001") == ["step-000002"]
    once = resumed(checkpoints, save_total_limit=1)
    once.save(state(1))
    assert steps(once.output) == ["step-000001"], "a torn one must not make this one surplus"


def resumed(checkpoints: Checkpoints, **training: Any) -> Checkpoints:
    from dcap.core.config import merge, to_tree

    config = build(RunConfig, merge(to_tree(checkpoints.config), {"training": training}))
    return Checkpoints(config, checkpoints.profile, checkpoints.source, checkpoints.learner)


def test_a_path_resumes_an_older_checkpoint(checkpoints: Checkpoints, tmp_path: Path) -> None:
    older = checkpoints.save(state(2))
    checkpoints.save(state(4))
    assert restored(resumed(checkpoints, resume=str(older))).step == 2
    shutil.copytree(older, tmp_path / "elsewhere")
    assert restored(resumed(checkpoints, resume=str(tmp_path / "elsewhere"))).step == 2


def test_going_back_leaves_the_newer_checkpoints_behind(checkpoints: Checkpoints) -> None:
    output = checkpoints.output
    older = checkpoints.save(state(2))
    checkpoints.save(state(4), best=True)
    checkpoints.save_final(state(4))
    back = resumed(checkpoints, resume=str(older), save_total_limit=1)
    assert restored(back).step == 2
    assert steps(output) == ["step-000002"]
    assert not back.has_final(state(4)), "the weights of the steps that were given up are not those of this run"
    assert (output / "previous-001" / "final").is_dir()
    assert steps(output / "previous-001") == ["step-000004"]
    assert not (output / "best").is_symlink()
    newest = back.save(state(3))
    assert steps(output) == ["step-000003"], "it is no surplus"
    assert newest_checkpoint(output) == newest


def test_a_path_that_is_none(checkpoints: Checkpoints) -> None:
    message = "must be auto, none or the folder of a checkpoint, and latest does not exist"
    with pytest.raises(CheckpointError, match=message):
        restored(resumed(checkpoints, resume="latest"))


def test_resuming_as_another_run_is_refused(checkpoints: Checkpoints) -> None:
    checkpoints.save(state(2))
    other = replace(checkpoints, config=replace(checkpoints.config, seed=9))
    with pytest.raises(CheckpointError, match=r"seed was 3 and is 9"):
        restored(other)


def test_a_state_of_another_version_is_refused(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints.save(state(2))
    saved = {"state": {"step": 2, "segments": []}, "world_size": 1}
    monkeypatch.setattr(resume, "read_marker", lambda *_: saved)
    with pytest.raises(CheckpointError, match=r"must hold the state of a run as this version .*state\.segments is not"):
        restored(checkpoints)


def test_steps_of_another_size_are_remembered(checkpoints: Checkpoints) -> None:
    checkpoints.save(state(2))
    larger = resumed(checkpoints, effective_batch_size=4)
    found = restored(larger)
    assert found == state(2).regrouped(2)
    assert found.parts == ((2, 2),)
    larger.save(replace(found, step=3, step_in_epoch=3))
    again = restored(larger)
    assert again.parts == ((2, 2),), "what is read back is what was written"
    assert (again.since_step, again.since_epochs) == (found.since_step, found.since_epochs)
    assert restored(resumed(larger, effective_batch_size=6)).parts == ((2, 2), (4, 1))


def test_a_rank_that_is_new_starts_with_its_own_random_numbers(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save(state(2))
    torch.manual_seed(8)
    expected = torch.rand(3)
    torch.manual_seed(8)
    monkeypatch.setattr(type(checkpoints.learner.accelerator), "process_index", 1)
    assert restored(checkpoints).step == 2
    assert torch.equal(torch.rand(3), expected)


def test_none_moves_an_earlier_run_aside(checkpoints: Checkpoints) -> None:
    output = checkpoints.output
    checkpoints.save(state(2), best=True)
    (output / "metrics.jsonl").write_text('{"step": 2}\n')
    losses_folder(output).mkdir()
    epoch_file(output, 0).write_text("{}")
    assert restored(resumed(checkpoints, resume="none")) == RunState()
    assert not (output / "checkpoints").exists()
    assert not (output / "best").is_symlink()
    aside = output / "previous-001"
    assert (aside / "metrics.jsonl").is_file()
    assert epoch_file(aside, 0).read_text() == "{}"
    assert (aside / "best" / "adapter").is_dir(), "the link moved along"
    assert newest_checkpoint(aside) == aside / "checkpoints" / "step-000002"
    checkpoints.save(state(1))
    set_aside(output)
    assert steps(output / "previous-002") == ["step-000001"]
    set_aside(output)
    assert not (output / "previous-003").exists()


def test_final_holds_adapter_and_profile(checkpoints: Checkpoints) -> None:
    folder = checkpoints.save_final(state(3))
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    assert load_profile(folder) == checkpoints.profile
    assert checkpoints.save_final(state(3)) == folder, "it may be written again"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def test_a_flipped_bit_of_any_file_is_noticed(checkpoints: Checkpoints) -> None:
    good, damaged = checkpoints.save(state(2)), checkpoints.save(state(4))
    by_path = resumed(checkpoints, resume=str(damaged))
    for path in sorted(p for p in damaged.rglob("*") if p.is_file()):
        whole, name = path.read_bytes(), path.relative_to(damaged).as_posix()
        flip(path)
        assert newest_checkpoint(checkpoints.output) == good, name
        with pytest.raises(CheckpointError, match=name):
            find_start(by_path.config, 1)
        path.write_bytes(whole)
    assert newest_checkpoint(checkpoints.output) == damaged


def test_a_damaged_final_is_written_again(checkpoints: Checkpoints) -> None:
    folder = checkpoints.save_final(state(3))
    assert checkpoints.has_final(state(3))
    assert not checkpoints.has_final(state(2))
    flip(folder / "adapter" / "adapter_model.safetensors")
    assert not checkpoints.has_final(state(3))


def test_an_adapter_of_another_base_is_refused(checkpoints: Checkpoints) -> None:
    checkpoints.save(state(2))
    other = replace(checkpoints, learner=replace(checkpoints.learner, base_digest="another"))
    with pytest.raises(CheckpointError, match=r"step-000002 must be an adapter of the weights in builtin:micro, but"):
        restored(other)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"max_steps": 3}, r"max_steps must be at least 4, as the run in .* has made 4 steps, 1\.50 epochs, not 3\. "),
        ({"max_steps": None, "num_epochs": 1}, r"num_epochs must be at least 2, as the run in .* has made 4 steps"),
    ],
)
def test_an_end_that_lies_behind_is_refused(checkpoints: Checkpoints, training: dict[str, Any], message: str) -> None:
    checkpoints.save(state(4))
    with pytest.raises(CheckpointError, match=message):
        find_start(resumed(checkpoints, **training).config, 1)
    find_start(resumed(checkpoints, max_steps=None, num_epochs=2).config, 1)


FILES = [{"file": "a.jsonl", "size": 5, "sha256": "1"}]
OTHERS = [{"file": "a.jsonl", "size": 5, "sha256": "2"}]


def test_other_training_data_are_refused_or_begin_the_epoch_anew(checkpoints: Checkpoints) -> None:
    replace(checkpoints, data={"train": FILES}).save(state(3))
    assert find_start(checkpoints.config, 1, {"train": FILES}).state == state(3)
    with pytest.raises(CheckpointError, match=r"with the data it began with, but a\.jsonl has other bytes"):
        find_start(checkpoints.config, 1, {"train": OTHERS})
    anew = resumed(checkpoints, on_changed_data="restart_epoch").config
    assert find_start(anew, 1, {"train": FILES}).state == state(3)
    found = find_start(anew, 1, {"train": OTHERS}).state
    assert found == replace(state(3), step_in_epoch=0, epochs_done=1.0, since_step=3, since_epochs=1.0)
    assert (found.first_step, found.total_steps(2, 5)) == (3, 3 + 5)


def test_the_best_over_other_bytes_of_a_validation_file_is_forgotten(checkpoints: Checkpoints) -> None:
    data = checkpoints.config.data
    checkpoints = replace(checkpoints, config=replace(checkpoints.config, data=replace(data, val=data.train)))
    replace(checkpoints, data={"train": FILES, "val": FILES}).save(state(3))
    assert find_start(checkpoints.config, 1, {"train": FILES, "val": FILES}).state.best_value == 0.25
    assert find_start(checkpoints.config, 1, {"train": FILES, "val": OTHERS}).state.best_value is None
