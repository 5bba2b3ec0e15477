"""Telephone numbers; all have at least six digits close together."""

import re
from collections.abc import Iterator

from steps.methods.privacy import Found
from steps.methods.privacy._shared import REACH, said_before

SEPARATOR = r"[ .\-/\u00a0\u2011\u2013]"
EXTENSION = r"(?:[ ,;]{0,2}(?:x|ext\.?|extension)[ .:]{0,2}[0-9]{1,6}+)?+"
NO_EXTENSION = re.compile(rf"(?:[0-9()]|{SEPARATOR}(?=[ (0-9]))+")
ABROAD = re.compile(
    r"(?:\+(?<![\w)+]\+)|00(?<![\w.,/+$-]00))[1-9](?:[ .\-/()\u00a0\u2011]{0,3}[0-9]){7,14}+"
    rf"(?![0-9]){EXTENSION}(?!\w)",
    re.IGNORECASE,
)
COUNTRY = re.compile(  # ITU-T E.164: the codes that are given out
    r"1|7|2(?:[07]|1[12368]|[2346][0-9]|5[0-8]|9[01789])|3(?:[0123469]|[57][0-9]|8[0-35-79])|4(?:[013-9]|2[013])|"
    r"5(?:[1-8]|[09][0-9])|6(?:[0-6]|7[02-9]|8[0-9]|9[0-2])|8(?:[1246]|0[08]|5[02356]|7[08]|8[0-368])|"
    r"9(?:[0-58]|6[0-8]|7[0-79]|9[2-8])"
)
AT_HOME = re.compile(
    r"[(0-9](?<![\w./+=$*-][(0-9])(?<![0-9][,:][(0-9])(?:(?<=1)[ .-]\(?[2-9])?+[0-9]{1,5}+\)?"
    rf"(?:{SEPARATOR}{{0,2}}[0-9]{{2,8}}+){{0,5}}(?![0-9])(?!{SEPARATOR}[0-9]|[.,:%][0-9]| ?[=*$%]){EXTENSION}(?!\w)",
    re.IGNORECASE,
)
NOT_DIGITS = re.compile("[^0-9]+")
AMERICAN = re.compile(
    r"(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[ .-]|"
    r"[2-9][0-9]{2}([.-])[2-9][0-9]{2}\1|[2-9][0-9]{2}/[2-9][0-9]{2}-)[0-9]{4}"
)
TRUNK = re.compile(  # the leading 0 that a country's code replaces
    r"(?:\(0[1-9][0-9]{0,3}\)[ .\-/\u00a0]?|0[1-9][0-9]{0,3}[ .\-/\u00a0])"
    r"[0-9]{2,8}(?:([ .\-\u00a0])[0-9]{2,8}(?:\1[0-9]{2,8}){0,3})?"
)
YEAR = "(?:1[5-9]|20)[0-9]{2}"
DATE = re.compile(
    rf"{YEAR}([-/. ])[0-9]{{1,2}}\1[0-9]{{1,2}}.*|[0-9]{{1,2}}([-/. ])[0-9]{{1,2}}\2{YEAR}.*|"
    rf"{YEAR}(?:[-/ \u2013]{YEAR})+"
)
PHONE_WORDS = re.compile(
    r"\b(?:tele)?phone|\btel\b|mobile|\bcell|\bfax|\bcall\b|\bdial|\bring\b|\breach\b|\btext\b|\bsms\b|whatsapp|"
    r"\bmessages? (?:to|on|at|from)\b|answering|contact|hotline|landline|pager|voicemail|\b(?:desk|office|home|work):",
    re.IGNORECASE,
)
OTHER_WORDS = re.compile(
    r"(?:is[sb]n|\bvat|\bdoi|\bid|policy|order|invoice|\bref|code|\bzip|\bbox|licen[cs]e|version|size|key)"
    r"\W{0,3}(?:no|number|nr)?\W{0,4}\Z",
    re.IGNORECASE,
)
PHONE_WORDS_AFTER = re.compile(r"[ \t,(-]{1,2}(?:office|fax|mobile|cell|home|work|tel)\b", re.IGNORECASE)


def phones(text: str, begin: int, end: int) -> Iterator[Found]:
    """Numbers with a country's code, in a national form that little else has, or where a word speaks of a telephone."""
    for match in ABROAD.finditer(text, begin, end):
        digits = "".join(filter(str.isdigit, match[0]))
        if COUNTRY.match(digits.removeprefix("00")):
            yield Found("phone", match.start(), match.end())
    for match in AT_HOME.finditer(text, begin, end):
        number = NO_EXTENSION.match(match[0])
        if number and _is_phone(number[0], text, match):
            yield Found("phone", match.start(), match.end())


def _is_phone(number: str, text: str, match: re.Match[str]) -> bool:
    num_digits = sum(map(str.isdigit, number))
    if not 7 <= num_digits <= 12 or DATE.fullmatch(number):
        return False
    if AMERICAN.fullmatch(number):
        return True
    if said_before(OTHER_WORDS, text, match.start()):
        return False
    num_groups = len(NOT_DIGITS.split(number.strip("()")))
    if TRUNK.fullmatch(number) and (10 <= num_digits <= 11 or (num_digits == 9 and num_groups > 2)):
        return True
    reach = REACH if num_groups > 1 else REACH // 2
    return (
        said_before(PHONE_WORDS, text, match.start(), reach) or PHONE_WORDS_AFTER.match(text, match.end()) is not None
    )
