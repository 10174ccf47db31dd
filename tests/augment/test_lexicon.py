"""Words of direction follow a turn, everything else in a text stays."""

from __future__ import annotations

import pickle
import re
import time
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.augment.config import WordsConfig
from dcap.augment.lexicon import Lexicon, lexicon_of
from dcap.augment.turn import NO_TURN, Direction, Turn
from dcap.augment.word_tables import WORD_TABLES
from dcap.core.errors import ConfigError

BOTH = lexicon_of(WordsConfig())
HFLIP = Turn(Direction.LEFT, Direction.BOTTOM)
VFLIP = Turn(Direction.RIGHT, Direction.TOP)
HALF = Turn(Direction.LEFT, Direction.TOP)
CLOCKWISE = Turn(Direction.BOTTOM, Direction.LEFT)
COUNTER = Turn(Direction.TOP, Direction.RIGHT)
SQUARE = product(Direction, Direction)
TURNS = [Turn(right, bottom) for right, bottom in SQUARE if right.is_vertical != bottom.is_vertical]

TABLES = WORD_TABLES.values()
WORDS = sorted({word for table in TABLES for row in table.sides for word in row if word})
EXCEPTIONS = sorted({text for table in TABLES for text in (*table.exceptions, *table.adverbs)})
PIECES = st.sampled_from(
    [*WORDS, *map(str.upper, WORDS), *map(str.title, WORDS), *EXCEPTIONS, *"左右上下方侧", "the", "of", "to", "lEfT",
     "ſ", "text:", "angle", "next to", "cup", "红", "杯子", '"', "'", "“", "”", "İ", "5", "hand", "turn", "way"]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=3) | st.sampled_from(" ,._-\n")).map("".join) | st.lists(PIECES).map(
    " ".join
)


def turned(text: str, turn: Turn) -> str:
    return BOTH.turned(text, turn).text


@pytest.mark.parametrize(
    ("text", "flipped", "upside_down", "clockwise"),
    [
        ("left eye", "right eye", "left eye", "top eye"),
        ("the LEFT cup and the Right one", "the RIGHT cup and the Left one", "the LEFT cup and the Right one",
         "the TOP cup and the Bottom one"),
        ("red box left of the blue line", "red box right of the blue line", "red box left of the blue line",
         "red box above the blue line"),
        ("To the left of it", "To the right of it", "To the left of it", "Above it"),
        ("Left Of It", "Right Of It", "Left Of It", "Above It"),
        ("at the left of an image", "at the right of an image", "at the left of an image", "at the top of an image"),
        ("a lamp above the bed", "a lamp above the bed", "a lamp below the bed", "a lamp right of the bed"),
        ("top left corner", "top right corner", "bottom left corner", "top right corner"),
        ("Upper-Left", "Upper-Right", "Lower-Left", "Upper-Right"),
        ("bottom_right", "bottom_left", "top_right", "bottom_left"),
        ("topleft", "topright", "bottomleft", "topright"),
        ("left left of it", "right right of it", "left left of it", "top above it"),
        ("the leftmost, then the upper one", "the rightmost, then the upper one", "the leftmost, then the lower one",
         "the topmost, then the right one"),
        ("on the left-hand side", "on the right-hand side", "on the left-hand side", "on the top side"),
        ("左边的杯子", "右边的杯子", "左边的杯子", "上边的杯子"),
        ("左上角的红框", "右上角的红框", "左下角的红框", "右上角的红框"),
        ("位置: 上", "位置: 上", "位置: 下", "位置: 右"),
        ("人在车的上方，向左看", "人在车的上方，向右看", "人在车的下方，向左看", "人在车的右方，向上看"),
    ],
)  # fmt: skip
def test_words_follow_the_turn(text: str, flipped: str, upside_down: str, clockwise: str) -> None:
    assert turned(text, HFLIP) == flipped
    assert turned(text, VFLIP) == upside_down
    assert turned(text, CLOCKWISE) == clockwise
    assert turned(text, NO_TURN) == text
    assert turned(text, HALF) == turned(flipped, VFLIP)


@pytest.mark.parametrize(
    "text",
    ["a right angle", "all right", "right of way", "bright copyright, upright", "the plate right next to the cup",
     "food left over", "lEFT", "a cleft rightly aright", "2left left2", "a tank top", "seen from above", "toplady",
     'a sign "TURN LEFT"', "text: keep left", "左右两边", "右键", "桌子上的杯子", "上衣", "下午", "晚上方"],
)  # fmt: skip
@pytest.mark.parametrize("turn", TURNS)
def test_what_only_looks_like_a_direction_stays(text: str, turn: Turn) -> None:
    assert turned(text, turn) == text


@pytest.mark.parametrize(
    "text",
    ["a bag left on the bench", "shoes left by the door", "the man who left the car", "one slice left",
     "There are two slices left.", "all the food is left", "all the food that was left, and more", "no one left",
     "standing right by the door", "right at the entrance", "he just left", "towels left to dry", "it is left in here",
     "a ball right on top of the box", "the door was left unlocked"],
)  # fmt: skip
def test_a_verb_and_an_adverb_are_no_sides(text: str) -> None:
    assert turned(text, HFLIP) == text


@pytest.mark.parametrize(
    ("text", "flipped"),
    [
        ("the man on the left in a suit", "the man on the right in a suit"),
        ("a man at left near the tree", "a man at right near the tree"),
        ("to his right by the door", "to his left by the door"),
        ("the viewer's left in the picture", "the viewer's right in the picture"),
        ("from left to right in the row", "from right to left in the row"),
        ("left and right on the shelf", "right and left on the shelf"),
        ("facing left on the road", "facing right on the road"),
        ("the cup is left of the plate", "the cup is right of the plate"),
        ("the dog has left paw up", "the dog has right paw up"),
        ("the box left to the tree", "the box right to the tree"),
        ("one cup left, one cup right", "one cup right, one cup left"),
        ("one cup on left", "one cup on right"),
        ("the one man left", "the one man right"),
        ("bottom left in the picture", "bottom right in the picture"),
        ("the left upper arm", "the right upper arm"),
    ],
)
def test_sides_that_look_like_verbs_follow_the_turn(text: str, flipped: str) -> None:
    assert turned(text, HFLIP) == flipped


@pytest.mark.parametrize(
    "text",
    ["an upper lip", "the lower body, the upper back, a lower arm and an upper leg", "lower jaw", "upper eyelids",
     "a cup on top of the table", "a striped top", "in a red top and jeans", "a top bunk", "上唇", "下颌", "上颚",
     "下眼睑", "上臂和下肢", "上半身"],
)  # fmt: skip
@pytest.mark.parametrize("turn", [VFLIP, HALF, CLOCKWISE])
def test_parts_keep_their_names(text: str, turn: Turn) -> None:
    assert turned(text, turn) == text


def test_places_that_look_like_parts_follow_the_turn() -> None:
    assert turned("the white top left corner, a red top shelf", VFLIP) == (
        "the white bottom left corner, a red bottom shelf"
    )
    assert turned("the left upper arm, the left upper corner", VFLIP) == "the left upper arm, the left lower corner"
    assert turned("at the top of the image, the upper half", VFLIP) == "at the bottom of the image, the lower half"


@pytest.mark.parametrize("text", ["a left hand", "左手", "左眼睑"])
def test_a_quarter_turn_has_no_word_for_a_hand(text: str) -> None:
    assert BOTH.find(text).flips_only
    assert turned(text, CLOCKWISE) == text
    assert turned(text, HFLIP) == text.translate(str.maketrans("左", "右")).replace("left", "right")


def test_a_side_that_a_hand_names_has_a_word_for_a_quarter_turn() -> None:
    assert turned("on the right-hand side, 左手边", CLOCKWISE) == "on the bottom side, 上边"
    assert not BOTH.find("on the right-hand side, 左手边").flips_only


@pytest.mark.parametrize("mark", "“‘「『《«\"'")
def test_many_opening_marks_take_no_time(mark: str) -> None:
    start = time.process_time()
    BOTH.find(f"{mark}a " * 20_000)
    assert time.process_time() - start < 3.0


def test_right_next_to_is_a_side_after_the() -> None:
    assert turned("the man on the right next to the car", HFLIP) == "the man on the left next to the car"


@given(TEXTS, st.sampled_from([HFLIP, VFLIP, HALF]))
def test_two_flips_give_any_text_back(text: str, flip: Turn) -> None:
    assert turned(turned(text, flip), flip) == text


@given(TEXTS, st.sampled_from([HFLIP, VFLIP, HALF]))
def test_only_words_of_the_tables_change(text: str, turn: Turn) -> None:
    by_length = sorted(WORDS, key=len, reverse=True)
    word = re.compile(
        "|".join(re.escape(each).replace(r"\ ", "[ _-]").replace(r"\-", "[ _-]") for each in by_length), re.I
    )
    assert word.sub("#", turned(text, turn)) == word.sub("#", text)


@given(st.lists(st.text().filter(lambda word: BOTH.find(word).directions == ())), st.sampled_from(TURNS))
def test_texts_without_words_of_direction_are_the_same(words: list[str], turn: Turn) -> None:
    for word in words:
        assert turned(word, turn) == word


@given(st.lists(st.sampled_from(["left", "right", "top", "bottom", "upper", "lower"]) | st.sampled_from(["cup", "杯"])))
def test_a_turn_of_each_word_is_the_turn_of_the_text(words: list[str]) -> None:
    text = " , ".join(words)
    for turn in TURNS:
        assert turned(text, turn) == " , ".join(turned(word, turn) for word in words)


def test_four_quarter_turns_of_plain_words_are_none() -> None:
    text = "the left, the right, the top, the bottom"
    for _ in range(4):
        text = turned(text, CLOCKWISE)
    assert text == "the left, the right, the top, the bottom"
    assert turned(turned(text, CLOCKWISE), COUNTER) == text


@pytest.mark.parametrize(
    ("text", "colours"),
    [("a red and BLUE box", ("red", "blue")), ("covered reddened greenhouse", ()), ("a gold medal", ()),
     ("grey-green", ("grey", "green")), ("红色的车", ("红",)), ("黄瓜和白菜", ()), ("米色沙发", ("米色",))],
)  # fmt: skip
def test_names_of_colours_are_found(text: str, colours: tuple[str, ...]) -> None:
    assert BOTH.find(text).colours == colours


@pytest.mark.parametrize(
    ("text", "quoted"),
    [('a sign "STOP"', ('"STOP"',)), ("a shop ‘Books’", ("‘Books’",)), ("写着停字", ("写着",)),
     ("海报《春》", ("《春》",)),
     ("text: EXIT, red", ("text: EXIT",)), ("Text=EXIT", ("Text=EXIT",)), ("a banner that says stop", ("that says",)),
     ("the man's and the dog's", ()), ('a 5" pipe and a 6" pipe', ()), ("'90s and '80s", ()), ("texture: rough", ()),
     ("text: , red", ()), ("text:", ()), ('a sign " " and "STOP"', ('"STOP"',)), ("text: 42", ("text: 42",))],
)  # fmt: skip
def test_quoted_texts_are_found(text: str, quoted: tuple[str, ...]) -> None:
    assert BOTH.find(text).quoted == quoted


def test_languages_can_be_left_out() -> None:
    english, chinese, none = (lexicon_of(WordsConfig(languages=each)) for each in (("en",), ("zh",), ()))
    assert english.turned("left 左", HFLIP).text == "right 左"
    assert chinese.turned("left 左", HFLIP).text == "left 右"
    assert none.turned("left 左", HFLIP).text == "left 左"


def test_own_words_and_exceptions() -> None:
    own = lexicon_of(
        WordsConfig(
            left_right=(("port", "starboard"), ("links", "rechts")),
            top_bottom=(("ceiling", "floor"),),
            colours=("mauve",),
            exceptions=("Left Bank", "top"),
            text_keys=("sign",),
        )
    )
    assert own.turned("Port bow, links, ceiling", HFLIP).text == "Starboard bow, rechts, ceiling"
    assert own.turned("port bow, ceiling", VFLIP).text == "port bow, floor"
    assert own.turned("the left bank, on the left, top", HALF).text == "the left bank, on the right, top"
    found = own.find("port, floor, left, mauve, sign=STOP")
    assert found.flips_only == ("port", "floor")
    assert found.colours == ("mauve",)
    assert found.quoted == ("sign=STOP",)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"left_right": (("left", "links"),)}, r"left_right\[0\] must be two words of their own, .*'left'"),
        ({"left_right": (("left eye", "linkes Auge"),)}, r"hold 'left', which has a pair already"),
        ({"top_bottom": (("a", "b"), ("b", "c"))}, r"top_bottom\[1\]"),
        ({"top_bottom": (("", "b"),)}, "must not be empty"),
        ({"exceptions": ("",)}, "exceptions must be texts of at least one letter"),
    ],
)
def test_words_that_cannot_be(fields: dict[str, tuple[object, ...]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WordsConfig(**fields)


def test_a_lexicon_can_go_to_another_process() -> None:
    again = pickle.loads(pickle.dumps(BOTH))
    assert isinstance(again, Lexicon)
    assert again.turned("left", HFLIP).text == "right"
