"""Keys of services, passwords in settings and addresses, and private keys."""

import math
import re
from collections import Counter
from collections.abc import Iterator

from steps.methods.privacy import Found

# Each pattern begins with the text before it, so that a text without that text costs one search in memory.
KEYS = {
    "AKIA": r"AKIA(?<![\w]AKIA)[A-Z2-7]{16}(?!\w)",  # AWS
    "ASIA": r"ASIA(?<![\w]ASIA)[A-Z2-7]{16}(?!\w)",
    "ghp_": r"ghp_[A-Za-z0-9]{36}(?!\w)",  # GitHub
    "gho_": r"gho_[A-Za-z0-9]{36}(?!\w)",
    "ghu_": r"ghu_[A-Za-z0-9]{36}(?!\w)",
    "ghs_": r"ghs_[A-Za-z0-9]{36}(?!\w)",
    "ghr_": r"ghr_[A-Za-z0-9]{36,76}+(?!\w)",
    "github_pat_": r"github_pat_[A-Za-z0-9_]{60,90}+",
    "glpat-": r"glpat-[A-Za-z0-9_-]{20,64}+",  # GitLab
    "xox": r"xox[abeprs]-[A-Za-z0-9-]{15,250}+",  # Slack
    "hooks.slack.com": r"hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/+]{20,120}+",
    "AIza": r"AIza[A-Za-z0-9_-]{35}(?![\w-])",  # Google
    "GOCSPX-": r"GOCSPX-[A-Za-z0-9_-]{28}(?![\w-])",
    "k_live_": r"k_live_(?<=[sr]k_live_)[A-Za-z0-9]{16,250}+",  # Stripe
    "k_test_": r"k_test_(?<=[sr]k_test_)[A-Za-z0-9]{16,250}+",
    "sk-": r"sk-(?<![\w-]sk-)(?:(?:proj|ant|or|svcacct|admin)-)?+[A-Za-z0-9_-]{20,250}+",  # OpenAI, Anthropic and alike
    "hf_": r"hf_(?<!\whf_)[A-Za-z0-9]{30,64}+(?!\w)",  # Hugging Face
    "npm_": r"npm_(?<!\wnpm_)[A-Za-z0-9]{36}(?!\w)",
    "pypi-": r"pypi-(?<![\w-]pypi-)[A-Za-z0-9_-]{50,250}+",
    "SG.": r"SG\.(?<!\wSG\.)[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}(?![\w-])",  # SendGrid
    "eyJ": r"eyJ(?<![\w-]eyJ)[A-Za-z0-9_-]{10,4000}+\.eyJ[A-Za-z0-9_-]{10,8000}+\.[A-Za-z0-9_-]{10,2000}+",  # JWT
}
BEFORE = {"k_live_": 1, "k_test_": 1}  # characters of the match that stand before the text that it is found by
MIXED = frozenset(["sk-", "hf_", "eyJ"])  # these may begin a name in a program: their rest must look random
PATTERNS = [(text, re.compile(pattern), BEFORE.get(text, 0), text in MIXED) for text, pattern in KEYS.items()]

VALUE = re.compile(
    r"[=:]\s{0,4}[\"']?(?:(?:Bearer|Basic|token) )?([A-Za-z0-9][A-Za-z0-9_+/.~-]{11,255}+={0,2}+)(?![A-Za-z0-9(\[])"
)
NAME = re.compile(
    r"(?:api|access|auth|secret|private|encryption|signing|client|account|session)[_-]?(?:key|token|secret)|secret|"
    r"token|passw(?:or)?d|pwd|credentials?|authorization",
    re.IGNORECASE,
)
NAME_END = re.compile(r"[\w\])\"' \t-]{0,12}\Z")
LOGIN = re.compile(r"://[^\s:/@?#\"'<>]{1,64}+:([^\s:/@?#\"'<>]{3,128}+)@")
BEGIN = "-----BEGIN "
TITLE = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
CUT_OFF = re.compile(r"(?:(?:\s|\\[nr])*+[A-Za-z0-9+/=]{16,}+)*+")  # lines of base64, or what is left of them
LONGEST_KEY = 20_000


def entropy(text: str) -> float:
    """Shannon's entropy of the characters of a text, in bits for each."""
    counts = Counter(text).values()
    return math.log2(len(text)) - sum(count * math.log2(count) for count in counts) / len(text)


def api_keys(text: str, min_entropy: float) -> Iterator[Found]:
    """Keys by their makers' prefixes; where names in programs begin alike, the whole must look random."""
    for start, pattern, before, mixed in PATTERNS:
        if start in text:
            for match in pattern.finditer(text):
                if not mixed or (entropy(match[0]) >= min_entropy and any(map(str.isdigit, match[0]))):
                    yield Found("api-key", match.start() - before, match.end())


def logins(text: str) -> Iterator[Found]:
    """Passwords in addresses: `scheme://user:password@host`."""
    if "://" in text and "@" in text:
        for match in LOGIN.finditer(text):
            yield Found("api-key", match.start(1), match.end(1))


def secret_values(text: str, min_entropy: float) -> Iterator[Found]:
    """Values that look random and are called a secret: `name = value`, `"name": "value"`."""
    for match in VALUE.finditer(text):
        name = text[max(0, match.start() - 48) : match.start()]
        said = None
        for said in NAME.finditer(name):  # noqa: B007  the last one counts
            pass
        if said and NAME_END.match(name, said.end()) and _random(match[1], min_entropy):
            yield Found("api-key", match.start(1), match.end(1))


def _random(value: str, min_entropy: float) -> bool:
    mixed = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    return mixed and entropy(value) >= min_entropy


def private_keys(text: str) -> Iterator[Found]:
    """PEM and PGP blocks from their first line to their last; of one that is cut off, the lines that can be a key."""
    if BEGIN not in text:
        return
    position = 0
    while title := TITLE.search(text, position):
        following = text.find(BEGIN, title.end())  # so that each character is looked at once
        end = text.find("-----END ", title.end(), following if following >= 0 else len(text))
        closing = text.find("-----", end + 9, end + 60) if 0 <= end < title.end() + LONGEST_KEY else -1
        if closing >= 0:
            position = closing + 5
        else:
            body = CUT_OFF.match(text, title.end())
            position = body.end() if body else title.end()
        yield Found("private-key", title.start(), position)
