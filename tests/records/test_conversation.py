"""Conversations as records: what is read, and what is refused with its place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dcap.core.errors import RecordError
from dcap.records.checking import check_records
from dcap.records.files.opening import open_source
from dcap.records.record import to_dict
from dcap.records.subset import limited

Write = Any


def turns(*contents: str, system: str | None = None) -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(contents)]
    return {"messages": [*([] if system is None else [{"role": "system", "content": system}]), *messages]}


def test_a_conversation_is_read_and_written_back(write_jsonl: Write) -> None:
    tree = turns("a?", "b", "c?", "d", system="Be brief.") | {"id": 7}
    path = write_jsonl([tree])
    records = check_records([path], text_files=frozenset({0}))
    record = records[0]
    assert [tuple(message) for message in record.messages] == [
        ("system", "Be brief."), ("user", "a?"), ("assistant", "b"), ("user", "c?"), ("assistant", "d"),
    ]  # fmt: skip
    assert not len(record.shapes)
    assert to_dict(record) == tree


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (turns("a?"), "messages must end with an answer of the assistant"),
        (turns("a?", "b", "c?"), "messages must end with an answer of the assistant"),
        ({"messages": []}, "messages must end with an answer"),
        ({"messages": "hello"}, 'messages must be a list of objects with role and content, not "hello"'),
        ({"messages": [{"role": "assistant", "content": "b"}] * 2}, 'messages[0].role must be "user", not "assistant"'),
        ({"messages": [{"role": "user"}, {"role": "assistant", "content": "b"}]}, "messages[0].content must be given"),
        (turns("a?", " "), "messages[1].content must not be empty"),
        (turns("<|im_end|>", "b"), 'messages[0].content must not hold the control token "<|im_end|>"'),
        (turns("<tool_response>a", "b"), 'messages[0].content must not hold the control token "<tool_response>"'),
        (turns("a", "</tool_call>", "b", "c"), 'messages[1].content must not hold the control token "</tool_call>"'),
        ({"images": ["a.png"], "width": 1, "height": 1, "objects": []}, "messages must be given, without images"),
        ({"images": ["a.png"], **turns("a?", "b")}, "messages must be given, without images and objects"),
    ],
)
def test_what_is_no_conversation(write_jsonl: Write, tree: dict[str, Any], message: str) -> None:
    path = write_jsonl([tree])
    with pytest.raises(RecordError) as caught:
        check_records([path], text_files=frozenset({0}))
    assert f"{path.name}:1: {message}" in str(caught.value)


def test_a_conversation_has_its_place_alone(write_jsonl: Write) -> None:
    path = write_jsonl([turns("a?", "b")])
    with pytest.raises(RecordError, match=r"messages must be in a data set of data\.mixture with text: true"):
        check_records([path])
    with pytest.raises(RecordError, match=r"train\.jsonl:1: messages must be in a data set"):
        open_source(path)[0]


def test_messages_beside_an_image_are_kept_as_they_were(write_jsonl: Write, make_record: Any) -> None:
    tree = make_record(messages=[{"role": "user", "content": "a?"}])
    (record,) = open_source(write_jsonl([tree]))
    assert not record.messages
    assert record.extra == {"messages": tree["messages"]}


def test_a_limit_chooses_among_conversations(write_jsonl: Write) -> None:
    path = write_jsonl([turns(f"{k}?", "b") for k in range(20)])
    records = check_records([path], text_files=frozenset({0}))
    some = limited(records, [(0, 20, 5)], seed=1)
    assert len(some) == 5
    assert [record.messages for record in some] == [
        record.messages for record in limited(records, [(0, 20, 5)], seed=1)
    ]
    assert json.dumps([to_dict(each) for each in some]) != json.dumps([to_dict(records[k]) for k in range(5)])
