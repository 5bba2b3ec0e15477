"""Find personal data by its form and its check digits."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from steps.core.method import Cite
from steps.methods.privacy import Found, Privacy
from steps.methods.privacy._addresses import emails, version_4, version_6
from steps.methods.privacy._identities import COUNTRIES, identities
from steps.methods.privacy._numbers import cards, ibans
from steps.methods.privacy._phones import phones
from steps.methods.privacy._scan import look
from steps.methods.privacy._secrets import api_keys, logins, private_keys, secret_values
from steps.methods.privacy._shared import without_overlap

Kind = Literal["email", "ip", "phone", "card", "iban", "national-id", "api-key", "private-key"]
EVERY: tuple[Kind, ...] = ("email", "ip", "phone", "card", "iban", "national-id", "api-key", "private-key")
NUMERIC = frozenset(["phone", "card", "iban", "national-id"])


class Patterns(Privacy):
    """Patterns with check digits where there are any; no model, nothing learned, time linear in the text.

    Rule:       a match is text of a kind's form whose check digits are right (Luhn and issuer for cards, modulo 97 and
                the country's form for IBANs, python-stdnum for national ids) and, where form and check digits say too
                little, with a word shortly before it that says what it is. Matches that overlap become one.
    Units:      characters; entropy in bits for each character of a value
    Differs:    names, places and dates are not looked for: they need a model, such as `presidio` with one
    Reduces to: no match in a text without `@`, digits, `:`, `=` and a key's prefix (exact)
    """

    cite: ClassVar[Cite] = Cite(title="Personal data by patterns", id="ours", where="this slot", checked="code")

    kinds: tuple[Kind, ...] = Field(EVERY, min_length=1, description="what is looked for")
    countries: tuple[str, ...] = Field(COUNTRIES, description="whose national ids are looked for, ISO 3166 codes")
    private_addresses: bool = Field(False, description="whether IP addresses of private and local ranges count")
    min_entropy: float = Field(3.5, ge=0, description="bits for each character from which a value looks like a secret")

    @field_validator("countries")
    @classmethod
    def _are_known(cls, countries: tuple[str, ...]) -> tuple[str, ...]:
        strangers = sorted(set(countries) - set(COUNTRIES))
        if strangers:
            raise ValueError(f"countries: no ids of {', '.join(strangers)}; there are: {', '.join(COUNTRIES)}")
        return countries

    def find(self, texts: Sequence[str]) -> list[list[Found]]:
        """The matches of each text, in the order of their places, without overlap."""
        return [without_overlap(self._matches(text)) for text in texts]

    def _matches(self, text: str) -> Iterator[Found]:
        seen = look(text)
        if "private-key" in self.kinds:
            yield from private_keys(text)
        if "api-key" in self.kinds:
            yield from logins(text)
            if seen.key:
                yield from api_keys(text, self.min_entropy)
            if seen.value:
                yield from secret_values(text, self.min_entropy)
        if "email" in self.kinds:
            yield from emails(text)
        if "ip" in self.kinds and seen.version_4:
            yield from version_4(text, self.private_addresses)
        if "ip" in self.kinds:
            yield from version_6(text, self.private_addresses)
        for begin, end in seen.windows if NUMERIC & set(self.kinds) else ():
            yield from self._numbers(text, begin, end)

    def _numbers(self, text: str, begin: int, end: int) -> Iterator[Found]:
        if "iban" in self.kinds:
            yield from ibans(text, begin, end)
        if "card" in self.kinds:
            yield from cards(text, begin, end)
        if "national-id" in self.kinds:
            yield from identities(text, begin, end, self.countries)
        if "phone" in self.kinds:
            yield from phones(text, begin, end)
