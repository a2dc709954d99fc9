"""Patient names of corpus files in all their character sets, written down by hand.

The Japanese, Korean and Chinese ones are the examples of PS3.5 Annexes H, I and J.
"""

from __future__ import annotations

__all__ = ["NAMES"]

NAMES = {
    "chrArab.dcm": "قباني^لنزار",  # ISO_IR 127
    "chrFren.dcm": "Buc^Jérôme",  # ISO_IR 100
    "chrGerm.dcm": "Äneas^Rüdiger",  # ISO_IR 100
    "chrGreek.dcm": "Διονυσιος",  # ISO_IR 126
    "chrH31.dcm": "Yamada^Tarou=山田^太郎=やまだ^たろう",  # ISO 2022 IR 87
    "chrH32.dcm": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",  # ISO 2022 IR 13, ISO 2022 IR 87
    "chrHbrw.dcm": "שרון^דבורה",  # ISO_IR 138
    "chrI2.dcm": "Hong^Gildong=洪^吉洞=홍^길동",  # ISO 2022 IR 149
    "chrKoreanMulti.dcm": "김희중",  # ISO 2022 IR 149
    "chrRuss.dcm": "Люкceмбypг",  # ISO_IR 144
    "chrX1.dcm": "Wang^XiaoDong=王^小東",  # ISO_IR 192
    "chrX2.dcm": "Wang^XiaoDong=王^小东",  # GB18030
}
