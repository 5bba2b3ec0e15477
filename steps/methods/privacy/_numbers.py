"""Payment cards and bank accounts; both have at least six digits close together."""

import re
from collections.abc import Iterator
from functools import cache

from steps.methods.privacy import Found
from steps.methods.privacy._shared import said_before

CARD = re.compile(
    r"[0-9](?<![\w.][0-9])(?<!\w[-/,][0-9])"
    r"(?:[0-9]{11,18}+|"
    r"[0-9]{3}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{1,4}(?:\1[0-9]{3})?+|"
    r"[0-9]{3}([ -])[0-9]{6}\2[0-9]{4,5}+)"
    r"(?![\w]|[.,-][0-9])"
)
ISSUED = re.compile(  # lengths of 12 and 13 are left to the words beside them
    r"4(?:[0-9]{15}|[0-9]{18})|"  # Visa
    r"(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}|"  # Mastercard
    r"3[47][0-9]{13}|"  # American Express
    r"3(?:0[0-59]|[689][0-9])[0-9]{11,16}|"  # Diners Club
    r"35(?:2[89]|[3-8][0-9])[0-9]{12,15}|(?:2131|1800)[0-9]{11}|"  # JCB
    r"(?:6011|64[4-9][0-9]|65[0-9]{2}|62[0-9]{2})[0-9]{12,15}|"  # Discover, UnionPay
    r"220[0-4][0-9]{12,15}|"  # Mir
    r"(?:5018|5020|5038|5893|6304|6759|676[1-3])[0-9]{12,15}"  # Maestro
)
CARD_WORDS = re.compile(r"card|visa|master|maestro|amex|credit|debit|payment|account|\bcc\b|\batm\b", re.IGNORECASE)
DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)

IBAN = re.compile(r"[0-9]{2}(?<=[A-Za-z]{2}[0-9]{2})(?<![\w][A-Za-z]{2}[0-9]{2})(?:[ -]?[A-Za-z0-9]){11,30}+")


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of ISO/IEC 7812."""
    values = [int(digit) for digit in reversed(digits)]
    return (sum(values[0::2]) + sum(DOUBLED[value] for value in values[1::2])) % 10 == 0


def cards(text: str, begin: int, end: int) -> Iterator[Found]:
    """Numbers with a right check digit, of an issuer that is known or where a word speaks of a card."""
    for match in CARD.finditer(text, begin, end):
        digits = match[0].replace(" ", "").replace("-", "")
        if len(set(digits)) < 2 or not luhn(digits):
            continue
        if ISSUED.fullmatch(digits) or said_before(CARD_WORDS, text, match.start()):
            yield Found("card", match.start(), match.end())


@cache
def _accounts() -> dict[str, tuple[int, re.Pattern[str]]]:
    """Country -> the length of its IBANs, and the form of what follows the check digits."""
    from stdnum import numdb

    found = {}
    for country in (a + b for a in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" for b in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"):
        facts = numdb.get("iban").info(country)[0][1]
        parts = re.findall(r"(\d+)!([nac])", facts.get("bban", ""))
        if parts:
            form = "".join({"n": "[0-9]", "a": "[A-Z]", "c": "[A-Z0-9]"}[kind] + f"{{{size}}}" for size, kind in parts)
            found[country] = 4 + sum(int(size) for size, _ in parts), re.compile(form)
    return found


def ibans(text: str, begin: int, end: int) -> Iterator[Found]:
    """International bank account numbers: the country's length and form, and the remainder by 97."""
    for match in IBAN.finditer(text, begin, end):
        start = match.start() - 2
        country = text[start : start + 2].upper()
        if country not in _accounts():
            continue
        length, form = _accounts()[country]
        places = [place for place in range(start, match.end()) if text[place] not in " -"]
        number = "".join(text[place] for place in places[:length]).upper()
        if len(number) < length or text[places[length - 1] + 1 : places[length - 1] + 2].isalnum():
            continue
        if form.fullmatch(number, 4) and int("".join(str(int(c, 36)) for c in number[4:] + number[:4])) % 97 == 1:
            yield Found("iban", start, places[length - 1] + 1)
