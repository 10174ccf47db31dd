"""The words of direction and colour of each language, as data.

`dcap.augment.lexicon` reads them; `augmentation.words` of a config adds to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Language = Literal["en", "zh"]


class Ending(NamedTuple):
    """Texts that are exceptions only at the end of a clause, or before some words: "who left" before "a", not "arm"."""

    texts: tuple[str, ...]
    followers: tuple[str, ...]


class Words(NamedTuple):
    """Words of one kind for the four sides. `None`: the language has none of this kind."""

    left: str | None
    right: str | None
    top: str | None
    bottom: str | None


@dataclass(frozen=True)
class WordTable:
    """The words of one language, in lower case.

    A blank in a word stands for a blank, a hyphen or an underscore. A longer word counts before a shorter one. A word
    that is in two rows belongs to the first; in the other row, it only says what a quarter turn gives.
    """

    sides: tuple[Words, ...]
    """Words of direction. A flip gives the opposite word of the row, a quarter turn the next one."""
    corners: tuple[Words, ...] = ()
    """Words that stand side by side for a corner, such as ``top left``. A turn gives them in the same order."""
    alone: tuple[str, ...] = ()
    """Words of direction that count only where no letter is next to them."""
    relations: tuple[str, ...] = ()
    """Words of direction that are none after ``the``: a cup "left of the image", but "at the left of the image"."""
    exceptions: tuple[str, ...] = ()
    """Texts in which words of direction mean something else. They stay as they are."""
    adverbs: tuple[str, ...] = ()
    """Exceptions that are none after `places`: a cup "right next to" another one, but "on the right next to" it.

    The words around decide, not the sense. "The man left in the picture" stays as well, though it may mean a side.
    """
    places: tuple[str, ...] = ()
    """After one of them, a word of direction is a side."""
    endings: tuple[Ending, ...] = ()
    """Exceptions at the end of a clause. "The cup is left." stays too: "no cup is left." looks the same."""
    amounts: tuple[str, ...] = ()
    """They begin what remains: "one slice left" at the end of a text. A text that is no more than "one man left" stays
    too, though it may mean a side."""
    before_amounts: tuple[str, ...] = ()
    """Words after which an amount may say what remains. It may at the start of a sentence, too."""
    colours: tuple[str, ...] = ()
    """Names of colours."""
    colour_exceptions: tuple[str, ...] = ()
    """Texts in which names of colours mean something else."""
    text_keys: tuple[str, ...] = ()
    """Before a colon or an equals sign, they say that what follows can be read in the image."""
    text_marks: tuple[str, ...] = ()
    """They say that a text of the image is quoted, without quotation marks."""


_GARMENTS: Final = (
    "striped", "floral", "plaid", "checkered", "patterned", "polka dot", "sleeveless", "strapless", "long sleeved",
    "short sleeved", "long sleeve", "short sleeve", "knit", "knitted", "lace", "denim", "tube", "track", "bikini",
    "pajama", "pyjama", "v neck",
)  # fmt: skip

ENGLISH: Final = WordTable(
    sides=(
        Words("left", "right", "top", "bottom"),
        Words("leftmost", "rightmost", "topmost", "bottommost"),
        Words("left", "right", "uppermost", "lowermost"),
        Words("left", "right", "upper", "lower"),
        Words("left of", "right of", "above", "below"),
        Words("to the left of", "to the right of", "above", "below"),
        Words("left side", "right side", "top side", "bottom side"),
        Words("left-hand side", "right-hand side", "top side", "bottom side"),
        # Without "side", it may be a hand, for which a quarter turn has no word.
        Words("left hand", "right hand", None, None),
        Words("leftward", "rightward", "upward", "downward"),
        Words("leftwards", "rightwards", "upwards", "downwards"),
    ),
    corners=(Words("left", "right", "top", "bottom"), Words("left", "right", "upper", "lower")),
    relations=("left of", "right of"),
    exceptions=(
        "right angle", "right angles", "right angled", "right triangle", "right triangles", "all right", "alright",
        "right of way", "copyright", "upright", "bright", "right side up", "right click", "left over", "left overs",
        "left alone", "left unattended",
        "top down", "bottom up", "tank top", "tank tops", "crop top", "crop tops", "halter top", "top hat", "top hats",
        "big top", "top notch", "top secret", "top speed", "spinning top", "bell bottom", "bell bottoms",
        "from above", "from below", "above ground", "below ground", "above average", "below average",
        "lower case", "upper case", "upper class", "lower class", "on top of", "wearing a top",
        # Parts keep their names in an image upside down: the lower lip is still the lower lip.
        *(f"upper {part}" for part in (
            "lip", "lips", "body", "bodies", "back", "arm", "arms", "leg", "legs", "jaw", "jaws", "eyelid", "eyelids",
            "lid", "lids", "lash", "lashes", "eyelashes", "teeth", "tooth", "torso", "abdomen", "chest", "thigh",
            "thighs", "limb", "limbs", "bunk", "bunks", "berth", "deck", "decks", "floor", "floors",
        )),
        *(f"top {part}" for part in (
            "lip", "teeth", "bunk", "bunks", "berth", "deck", "decker", "floor", "coat", "knot", "bun", "soil",
        )),
        *(f"{kind} top" for kind in _GARMENTS),
    ),
    adverbs=(
        "right next", "right beside", "right above", "right below", "right under", "right over", "right away",
        "right now", "left behind", "left out", "left open", "left empty", "left blank", "left on", "left on top",
        "left in", "left by", "left at", "left near", "left there", "left here", "left the", "left his", "left her",
        "left its", "left their", "left to dry", "left to cool", "left to rest", "left to rot", "left to rust",
        "left to die", "left to grow", "left to do", "left to go", "left to eat", "left to be",
    ),
    places=(
        "the", "on", "to", "at", "from", "far", "very", "its", "his", "her", "their", "my", "your", "our", "'s", "’s",
        "front", "back", "rear", "middle", "center", "centre", "extreme", "left and", "right and", "left or",
        "right or", "turn", "turns", "turning", "turned", "faces", "facing", "look", "looks", "looking", "points",
        "pointing", "leans", "leaning", "heading", "towards", "toward",
    ),
    endings=(
        Ending(
            tuple(f"{word} left" for word in (
                "who", "that", "which", "has", "have", "had", "was", "were", "is", "are", "just", "been", "being", "be",
            )),
            ("a", "an", "for", "with", "without", "under", "over", "from", "after", "before", "already", "it", "them",
             "him", "standing", "lying", "hanging", "sitting", "running", "untouched", "unused", "unlocked"),
        ),
        Ending(
            tuple(f"{colour} top" for colour in (
                "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray", "grey",
                "beige", "dark", "light", "colorful", "colourful", "matching",
            )),
            ("and", "with", "is", "who", "that", "sits", "sitting", "stands", "standing", "holds", "holding", "walks",
             "walking", "smiles", "smiling"),
        ),
    ),
    amounts=(
        "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "no", "few", "some", "any",
        "little", "much", "nothing", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10",
    ),
    before_amounts=("is", "are", "was", "were", "only", "just", "with", "has", "have"),
    colours=(
        "red", "orange", "yellow", "green", "blue", "purple", "violet", "pink", "brown", "black", "white", "gray",
        "grey", "beige", "tan", "gold", "golden", "silver", "cyan", "turquoise", "teal", "aqua", "magenta", "maroon",
        "navy", "crimson", "scarlet", "burgundy", "lavender", "lilac", "indigo", "khaki", "ivory", "olive", "bronze",
        "copper", "coral", "salmon", "mustard", "amber", "blond", "blonde", "reddish", "yellowish", "greenish",
        "bluish", "purplish", "pinkish", "brownish", "blackish", "whitish", "grayish", "greyish", "colored", "coloured",
        "colorful", "colourful", "multicolored", "multicoloured",
    ),
    colour_exceptions=("navy ship", "navy officer", "the navy", "gold medal", "silver medal", "bronze medal"),
    text_keys=("text",),
    text_marks=("that says", "that reads", "which says", "which reads", "saying"),
)  # fmt: skip

_PLACES: Final = (
    "侧", "边", "方", "面", "部", "端", "角", "半", "排", "层", "缘", "沿", "栏",
)  # fmt: skip
_LIMBS: Final = ("手", "臂", "肢", "颌", "颚", "眼睑", "眼皮")
"""Parts of a body. With 上 or 下 they name another part, which stays that part in an image upside down."""
_TOWARDS: Final = ("向", "朝", "往", "最", "偏", "靠")

CHINESE: Final = WordTable(
    sides=(
        Words("左", "右", "上", "下"),
        *(Words(f"左{place}", f"右{place}", f"上{place}", f"下{place}") for place in _PLACES),
        *(Words(f"左{limb}", f"右{limb}", None, None) for limb in _LIMBS),
        Words("左手边", "右手边", "上边", "下边"),
        Words("左手侧", "右手侧", "上侧", "下侧"),
        *(Words(f"{way}左", f"{way}右", f"{way}上", f"{way}下") for way in _TOWARDS),
    ),
    corners=(Words("左", "右", "上", "下"),),
    # 上 and 下 are parts of very many words; 左 and 右 are not.
    alone=("上", "下"),
    exceptions=(
        "左右", "上下", "左键", "右键", "座右铭", "左撇子", "右撇子", "左派", "右派", "左倾", "右倾",
        "极左", "极右", "左邻右舍", "左顾右盼", "左思右想", "无出其右", "上半年", "下半年", "上半场",
        "下半场", "上半夜", "下半夜", "上半身", "下半身", "晚上", "早上", "马上", "以上", "以下", "向上级", "往下班",
    ),
    colours=(
        "红", "橙", "黄", "绿", "蓝", "紫", "粉", "棕", "褐", "黑", "白", "灰", "青色", "金色", "银色",
        "米色", "彩色", "咖啡色", "驼色", "古铜色", "肉色", "金黄", "银白",
    ),
    colour_exceptions=(
        "红绿灯", "红包", "红薯", "网红", "黄昏", "黄瓜", "黄油", "黄豆", "绿化", "绿植", "绿地", "蓝牙",
        "蓝莓", "紫菜", "粉丝", "面粉", "奶粉", "粉末", "粉笔", "花粉", "棕榈", "黑板", "黑暗", "黑客",
        "白天", "白菜", "白领", "白酒", "蛋白", "明白", "空白", "灰尘", "橙子", "橙汁",
    ),
    text_keys=("文本", "文字"),
    text_marks=("文本", "字样", "写着", "写有"),
)  # fmt: skip

WORD_TABLES: Final[dict[Language, WordTable]] = {"en": ENGLISH, "zh": CHINESE}
"""Tables by language."""
