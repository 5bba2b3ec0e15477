"""National identity numbers, by their form and their check digits."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from steps.methods.privacy import Found
from steps.methods.privacy._shared import said_before

AFTER = r"(?!\w|[.,-][0-9])"

SSN = "(?!000|666|9|078-05-1120|219-09-9999|457-55-5462)"  # never given out, or printed in advertisements
MONTH, DAY = "(?:0[1-9]|1[0-2])", "(?:0[1-9]|[12][0-9]|3[01])"


@dataclass(frozen=True)
class Identity:
    """One kind of number."""

    kind: str
    form: str
    checked: str = ""  # a module of python-stdnum; none: no check digit
    said: str = ""  # a word that must stand before it


IDENTITIES = (  # where a check digit lets one number in ten pass and the form is common, a word must say what it is
    Identity("us-ssn", f"{SSN}[0-9]{{3}}-(?!00)[0-9]{{2}}-(?!0000)[0-9]{{4}}"),
    Identity("us-ssn", f"{SSN}[0-9]{{3}} ?(?!00)[0-9]{{2}} ?(?!0000)[0-9]{{4}}", "", r"\bSSN\b|social[ -]security"),
    Identity(
        "gb-nino", r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]"
    ),
    Identity("gb-nhs", r"[0-9]{3}([ -]?)[0-9]{3}\1[0-9]{4}", "gb.nhs", r"\bNHS\b|health service"),
    Identity("de-idnr", r"[1-9][0-9] ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}", "de.idnr"),
    Identity(
        "fr-nir", r"[1-478] ?[0-9]{2} ?(?:0[1-9]|1[0-2]|20) ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}", "fr.nir"
    ),
    Identity("es-dni", r"[0-9]{8}[- ]?[A-HJ-NP-TV-Z]", "es.dni"),
    Identity("es-nie", r"[XYZ][- ]?[0-9]{7}[- ]?[A-HJ-NP-TV-Z]", "es.nie"),
    Identity(
        "it-codice-fiscale",
        r"[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]",
        "it.codicefiscale",
    ),
    Identity("nl-bsn", r"[0-9]{4}\.?[0-9]{2}\.?[0-9]{3}", "nl.bsn", r"\bBSN\b|burgerservice|sofi-?n"),
    Identity("br-cpf", r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", "br.cpf"),
    Identity("br-cpf", r"[0-9]{11}", "br.cpf", r"\bCPF\b"),
    Identity("pl-pesel", r"[0-9]{11}", "pl.pesel", r"PESEL"),
    Identity("ch-ahv", r"756\.[0-9]{4}\.[0-9]{4}\.[0-9]{2}|756[0-9]{10}", "ch.ssn"),
    Identity("cn-id", f"[1-9][0-9]{{5}}(?:19|20)[0-9]{{2}}{MONTH}{DAY}[0-9]{{3}}[0-9Xx]", "iso7064.mod_11_2"),
    Identity("in-aadhaar", r"[2-9][0-9]{3}([ -]?)[0-9]{4}\1[0-9]{4}", "in_.aadhaar", r"aadhaar|aadhar|\bUID\b"),
    Identity("ca-sin", r"[0-9]{3}([ -]?)[0-9]{3}\1[0-9]{3}", "ca.sin", r"\bSIN\b|social insurance|\bNAS\b"),
)
COUNTRIES = tuple(sorted({identity.kind[:2] for identity in IDENTITIES}))


@dataclass(frozen=True)
class Finders:
    """Numbers that are looked for together: where any of them may begin, and each by itself."""

    begins: re.Pattern[str]
    each: tuple[tuple[str, re.Pattern[str], Callable[[str], bool], re.Pattern[str]], ...]
    words: re.Pattern[str]  # one of these must be near

    @classmethod
    def of(cls, wanted: Sequence[Identity]) -> "Finders":
        """For identities that all need a word, or none of which does."""
        forms = "|".join(re.sub(r"\\1", "[ -]?", identity.form) for identity in wanted) or "(?!)"
        each = []
        for identity in wanted:
            checked = import_module(f"stdnum.{identity.checked}").is_valid if identity.checked else _always
            pattern, said = re.compile(f"(?:{identity.form}){AFTER}"), re.compile(identity.said, re.IGNORECASE)
            each.append((identity.kind, pattern, checked, said))
        words = re.compile("|".join(identity.said for identity in wanted), re.IGNORECASE)
        return cls(re.compile(rf"[0-9A-Z](?<![\w.,+-][0-9A-Z])(?<=(?=(?:{forms}){AFTER}).)"), tuple(each), words)


@cache
def _finders(countries: tuple[str, ...]) -> tuple[Finders, Finders]:
    wanted = [identity for identity in IDENTITIES if identity.kind[:2] in countries]
    return Finders.of([one for one in wanted if not one.said]), Finders.of([one for one in wanted if one.said])


def _always(number: str) -> bool:
    return True


def identities(text: str, begin: int, end: int, countries: tuple[str, ...]) -> Iterator[Found]:
    """Numbers of these countries whose form and check digits are right."""
    for finders in _finders(countries):
        if not finders.words.search(text, begin, end):
            continue
        for place in finders.begins.finditer(text, begin, end):
            for kind, pattern, checked, said in finders.each:
                match = pattern.match(text, place.start(), end)
                if match and said_before(said, text, match.start()) and checked(match[0]):
                    yield Found(kind, match.start(), match.end())
