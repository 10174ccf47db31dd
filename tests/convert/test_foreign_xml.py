"""XML in the encoding that it names, and XML that must not be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcap.convert.foreign_xml import load_xml
from dcap.core.errors import RecordError


def written(folder: Path, data: bytes) -> Path:
    (folder / "a.xml").write_bytes(data)
    return folder / "a.xml"


TEXTS = {
    "gb2312": "杯子",
    "GBK": "镕",
    "gb18030": "杯子㐀",
    "shift_jis": "コップ",
    "Big5": "杯子",
    "euc-kr": "컵",
    "euc-jp": "コップ",
    "windows-1251": "чашка",
    "iso-8859-2": "šálek",
    "utf-8": "杯子",
    "utf-16": "杯子",
    "utf-16-le": "杯子",
    "utf-16-be": "杯子",
    "us-ascii": "cup",
    "iso-8859-1": "été",
    "iso-2022-jp": "コップ",
}


@pytest.mark.parametrize(("encoding", "text"), TEXTS.items())
def test_xml_in_the_encoding_that_it_names(tmp_path: Path, encoding: str, text: str) -> None:
    data = f"<?xml version='1.0' encoding='{encoding}'?>\n<a>{text}</a>".encode(encoding)
    assert load_xml(written(tmp_path, data)).text == text


def test_letters_that_an_encoding_lacks_are_read_by_its_wider_form(tmp_path: Path) -> None:
    data = '<?xml version="1.0" encoding="gb2312"?><a>镕</a>'.encode("gb18030")
    assert load_xml(written(tmp_path, data)).text == "镕"


@pytest.mark.parametrize(
    ("encoding", "data", "said"),
    [
        ("rot13", b"a", "line 1: encoding must be one that is known, not rot13"),
        ("klingon", b"a", "line 1: encoding must be one that is known, not klingon"),
        ("unicode_escape", b"a", "line 1: file must be in the encoding that it names, unicode_escape"),
        ("punycode", b"a", "line 1: file must be in the encoding that it names, punycode"),
        ("idna", b"a", "line 1: file must be in the encoding that it names, idna"),
        ("cp037", b"a", "line 1: file must be in the encoding that it names, cp037"),
        ("euc-jp", b"\xff\xff", "line 1: file must be in the encoding that it names, euc-jp. Save it as UTF-8"),
        ("utf-8", "杯".encode("gbk"), "line 1 column [0-9]+: file must be XML, and has a character here that is not"),
    ],
)
def test_encodings_that_do_not_fit(tmp_path: Path, encoding: str, data: bytes, said: str) -> None:
    head = f'<?xml version="1.0" encoding="{encoding}"?>'.encode()
    with pytest.raises(RecordError, match=said):
        load_xml(written(tmp_path, head + b"<a>" + data + b"</a>"))


def test_other_letters_without_a_named_encoding(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="must be XML in UTF-8, or name its encoding in the first line"):
        load_xml(written(tmp_path, "<a>杯</a>".encode("gbk")))


def test_two_bytes_per_letter_under_the_name_of_another_encoding(tmp_path: Path) -> None:
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        data = '<?xml version="1.0" encoding="gb2312"?><a>杯</a>'.encode(encoding)
        assert load_xml(written(tmp_path, data)).text == "杯"
    with pytest.raises(RecordError, match="must be in the encoding that it names, utf-16"):
        load_xml(written(tmp_path, b"\xff\xfe<\x00a"))


def test_a_document_type_is_refused_in_any_encoding(tmp_path: Path) -> None:
    bomb = '<?xml version="1.0" encoding="gbk"?><!DOCTYPE a [<!ENTITY b "ha">]><a>&b;</a>'.encode("gbk")
    with pytest.raises(RecordError, match="file must have no DOCTYPE"):
        load_xml(written(tmp_path, bomb))
