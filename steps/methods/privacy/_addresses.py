"""E-mail and IP addresses. Every pattern starts with a character that is rare, and none can go back far."""

import ipaddress
import re
from collections.abc import Iterator

from steps.methods.privacy import Found
from steps.methods.privacy._shared import REACH, said_before

LOCAL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+-'"
DOMAIN = re.compile(
    r"@(?<=[\w%+'-]@)((?:[\w-]{1,63}+\.){1,8}(xn--[a-z0-9-]{2,59}+|[^\W\d_]{2,24}+))(?!\d)", re.IGNORECASE
)
MAX_LOCAL = 64  # RFC 5321
NO_DOMAIN = frozenset(  # picture@2x.png, package@1.0.js
    ["png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "ts", "py", "html", "htm", "php", "json", "xml", "txt"]
)

IPV4 = re.compile(r"[0-9](?<![\w.][0-9])[0-9]{0,2}+(?:\.[0-9]{1,3}+){3}+(?!\w|\.[0-9])")
LIKE_A_SECTION = re.compile(r"[0-9]{1,2}(?:\.[0-9]{1,2}){3}")  # 2 % of addresses, most versions and sections
SECTION = re.compile(r"(?:section|chapter|version|release|§)s? ?\Z", re.IGNORECASE)
ADDRESS_WORDS = re.compile(
    r"\bip\b|ipv4|addr|host|server|\bfrom\b|gateway|\bdns\b|ping|client|proxy|://|\[", re.IGNORECASE
)
IPV6 = re.compile(r":(?=[0-9A-Fa-f]{0,4}:)")
IPV6_REST = re.compile(r"[0-9A-Fa-f:]*+(?:\.[0-9]{1,3}+){0,3}+")
IPV6_CHARACTERS = "0123456789abcdefABCDEF:"
IPV6_LONGEST = 45
ALLOCATED = ipaddress.IPv6Network("2000::/3")  # all that IANA has given out


def emails(text: str) -> Iterator[Found]:
    """Local parts of letters, digits and `._%+-'` in front of a domain that has a dot."""
    if "@" not in text:
        return
    for match in DOMAIN.finditer(text):
        begin = _local_begin(text, match.start())
        if text[begin - 1 : begin] == "=" and "." in text[begin : match.start()]:  # who=where.org@list.org
            begin = _local_begin(text, begin - 1)
        if begin < match.start() and match[2].lower() not in NO_DOMAIN:
            yield Found("email", begin, match.end())


def _local_begin(text: str, end: int) -> int:
    lowest = max(0, end - MAX_LOCAL)
    begin = lowest + len(text[lowest:end].rstrip(LOCAL))
    while begin > lowest and not text[begin - 1].isascii() and text[begin - 1].isalnum():
        begin -= 1
        begin = lowest + len(text[lowest:begin].rstrip(LOCAL))
    while begin < end and text[begin] in ".%+-'":
        begin += 1
    return begin


def version_4(text: str, private: bool) -> Iterator[Found]:
    """IPv4 addresses; of private, local and reserved ranges only if `private`."""
    for match in IPV4.finditer(text):
        if LIKE_A_SECTION.fullmatch(match[0]) and not _is_called_one(text, match.start()):
            continue
        try:
            address = ipaddress.IPv4Address(match[0])
        except ValueError:
            continue
        if private or (address.is_global and not address.is_multicast):
            yield Found("ip", match.start(), match.end())


def _is_called_one(text: str, begin: int) -> bool:
    at_line_start = text[begin - 1 : begin] in ("", "\n")
    called_other = at_line_start or said_before(SECTION, text, begin)
    return not called_other and said_before(ADDRESS_WORDS, text, begin, REACH // 2)


def version_6(text: str, private: bool) -> Iterator[Found]:
    """IPv6 addresses; of private, local and reserved ranges only if `private`."""
    position = 0
    while anchor := IPV6.search(text, position):
        lowest = max(position, anchor.start() - IPV6_LONGEST)
        begin = lowest + len(text[lowest : anchor.start()].rstrip(IPV6_CHARACTERS))
        rest = IPV6_REST.match(text, anchor.start())
        assert rest, "it matches nothing at all too"
        position = end = max(rest.end(), anchor.end())
        if text[end - 1] == ":" and text[end - 2] != ":":  # the colon of the sentence
            end -= 1
        alone = not (text[begin - 1 : begin].isalnum() or text[end : end + 1].isalnum())
        if alone and end - begin <= IPV6_LONGEST and _is_version_6(text[begin:end], private):
            yield Found("ip", begin, end)


def _is_version_6(written: str, private: bool) -> bool:
    """Eight groups, or shortened and allocated: `Face::bad` is a name in a program, 12:34:56:78:90:ab:cd:ef a card."""
    short = "::" in written
    if all(len(group) == 2 for group in written.split(":")) or (short and not private and written[0] not in "23"):
        return False
    try:
        address = ipaddress.IPv6Address(written)
    except ValueError:
        return False
    if private:
        return not short or any(map(str.isdigit, written))
    return address.is_global and not address.is_multicast and (not short or address in ALLOCATED)
