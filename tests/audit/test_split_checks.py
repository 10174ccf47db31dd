"""Results of checks, and checks of splits on what no data set of dcap's can be; the others are in `test_audit`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from dcap.audit.sample_checks import Found
from dcap.audit.split_checks import EXAMPLES_KEPT, AuditedSplit, CheckResult, token_ids
from dcap.data.dataset import DenseCaptionDataset


def test_a_tokenizer_without_the_control_tokens() -> None:
    ids = {"<|im_end|>": [5], "<|im_start|>": [5], "<|image_pad|>": [1, 2]}
    tokenizer = lambda text, **_: {"input_ids": ids.get(text, [hash(text)])}  # noqa: E731
    dataset = SimpleNamespace(planners=[SimpleNamespace(encoder=SimpleNamespace(tokenizer=tokenizer))])
    (result,) = token_ids([AuditedSplit("train", (), "error", cast("DenseCaptionDataset", dataset))])
    assert (result.status, result.checked, result.failed) == ("fail", 6, 2)
    assert result.examples[0] == "tokenizer: <|image_pad|> must be one token, not 2"
    assert "<|im_start|> must be a token of its own, not that of <|im_end|>" in result.examples[1]


def test_the_first_examples_are_kept() -> None:
    one, two = CheckResult("train", "x", "it holds"), CheckResult("train", "x", "it holds")
    assert one.status == "-"
    for i in range(4):
        one.add(f"a:{i}", [])
        two.add(f"b:{i}", [Found("no"), Found("b:1: look", fails=False)])
    assert (one.status, one.checked) == ("pass", 4)
    one.update(two)
    assert (one.checked, one.failed, one.noted, len(one.examples)) == (8, 4, 4, EXAMPLES_KEPT)
    assert one.examples[:2] == ["b:0: no", "b:0: b:1: look"]
    assert two.examples[3] == "b:1: look"
