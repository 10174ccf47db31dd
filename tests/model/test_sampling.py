"""The choice of tokens: transformers' own generation as oracle, and draws that follow the distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dcap.data.encode import Encoder
from dcap.model.decoding import Decoding
from dcap.model.sampling import TokenChoice

DECODINGS = [
    Decoding(temperature=0.7),
    Decoding(temperature=1.0, top_k=5),
    Decoding(temperature=1.3, top_p=0.6),
    Decoding(temperature=0.9, top_p=0.8, top_k=40, repetition_penalty=1.7),
    Decoding(temperature=2.0, repetition_penalty=0.8),
    Decoding(repetition_penalty=1.4),
]


@pytest.mark.parametrize("decoding", DECODINGS)
def test_scores_are_those_of_transformers(generator: Any, decoding: Decoding) -> None:
    ids = torch.tensor(Encoder(generator.tokenizer).prompt_ids(None, "which, which, which?", None))[None]
    settings: dict[str, Any] = {"do_sample": False}
    if not decoding.is_greedy:
        settings = {
            "do_sample": True,
            "temperature": decoding.temperature,
            "top_k": decoding.top_k,
            "top_p": decoding.top_p,
        }
    made = generator.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=3,
        repetition_penalty=decoding.repetition_penalty,
        pad_token_id=generator.pad_id,
        output_scores=True,
        output_logits=True,
        return_dict_in_generate=True,
        **settings,
    )
    choice = TokenChoice(decoding)
    for step, (logits, scores) in enumerate(zip(made.logits, made.scores, strict=True)):
        seen = torch.zeros(1, logits.shape[-1], dtype=torch.bool)
        seen[0, made.sequences[0, : ids.shape[1] + step]] = True
        found = choice.scores(logits, seen if decoding.repetition_penalty != 1.0 else None)
        torch.testing.assert_close(found, scores)


@pytest.mark.parametrize("decoding", [Decoding(temperature=1.0), Decoding(temperature=2.0, top_p=0.8)])
def test_draws_follow_the_scores(decoding: Decoding) -> None:
    choice = TokenChoice(decoding)
    logits = torch.tensor([[0.0, 1.0, -1.0, 2.0, -torch.inf, 0.5]])
    wanted = choice.scores(logits, None).softmax(-1)[0].numpy()
    count = 4000
    drawn = choice(logits.expand(count, -1), None, [(seed, 3) for seed in range(count)])
    shares = np.bincount(drawn.numpy(), minlength=6) / count
    # Five times the deviation of a share.
    np.testing.assert_array_less(abs(shares - wanted), 5 * np.sqrt(wanted * (1 - wanted) / count) + 1e-12)


def test_draw_depends_on_seed_and_place_alone() -> None:
    choice = TokenChoice(Decoding(temperature=1.0))
    logits = torch.randn(3, 1000, generator=torch.Generator().manual_seed(0))
    draws = [(1, 0), (1, 1), (2, 0)]
    together = choice(logits, None, draws).tolist()
    assert [int(choice(logits[k : k + 1], None, [draws[k]])) for k in range(3)] == together
    assert choice(logits[[2, 0]], None, [draws[2], draws[0]]).tolist() == [together[2], together[0]]
    same = logits[:1].expand(40, -1)
    assert len(set(choice(same, None, [(1, k) for k in range(40)]).tolist())) > 20
    assert len(set(choice(same, None, [(k, 1) for k in range(40)]).tolist())) > 20


def test_greedy_choice_is_the_most_probable_one() -> None:
    logits = torch.tensor([[0.0, 3.0, 2.0], [5.0, 3.0, 2.0]])
    assert TokenChoice(Decoding())(logits, None, [(0, 0)] * 2).tolist() == [1, 0]
    assert TokenChoice(Decoding(temperature=1.0, top_k=1))(logits, None, [(9, 9)] * 2).tolist() == [1, 0]
