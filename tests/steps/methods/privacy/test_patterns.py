import logging
import random

import pytest
from pydantic import ValidationError

from steps.methods.privacy import Found, mask, patterns
from steps.methods.privacy._identities import COUNTRIES, IDENTITIES
from steps.methods.privacy._scan import Seen
from steps.methods.privacy.patterns import EVERY, Patterns
from tests.hostile import ends_soon

TOKEN = "zX81kQ0pLw4vT6bN2mR9cY7d"  # nobody's
EXAMPLES = {  # kind -> texts with one match each, between < and >
    "email": [
        "write to <jane.doe+news@mail.example.co.uk>.",
        "(<jürgen@müller.de>)",
        "by <bounce-ana=home.org@lists.example.com>, again",
        "mailto:<o'brien@example.museum>?subject=hi",
    ],
    "ip": ["from <81.2.69.142>:443", "host <2a00:1450:4001:81b::200e> is up", "ping <9.9.9.9>, please"],
    "phone": [
        "<+44 20 7946 0958>",
        "<+46 (0)8 928 571 38> fax",
        "<001-518-640-0854>",
        "<(212) 555-0187>",
        "<259.735.7502x459>",
        "<1-800-555-0199>",
        "<01 84 17 61 18>",
        "<(08) 8747 6301>",
        "<098-682 28 28>",
        "<(04125) 24273>",
        "Please call me on <451 5986>",
        "Phone:\n<60-56-85-91>",
        "<416 60 039> office",
    ],
    "card": ["<4111 1111 1111 1111>", "<378282246310005>", "<6011-1111-1111-1117>", "my debit card <4222222222222>"],
    "iban": ["<GB82 WEST 1234 5698 7654 32> is paid", "<de89370400440532013000>", "to <NO9386011117947>,"],
    "us-ssn": ["<536-90-4399>", "my SSN is <536904399>"],
    "gb-nino": ["<AB 12 34 56 C>"],
    "gb-nhs": ["NHS number <943 476 5919>"],
    "de-idnr": ["Steuer-ID <36 574 261 809>"],
    "fr-nir": ["<2 95 10 99 126 111 93>"],
    "es-dni": ["DNI <54362315K>"],
    "es-nie": ["<X-2482300W>"],
    "it-codice-fiscale": ["<RCCMNL83S18D969H>"],
    "nl-bsn": ["BSN: <111222333>"],
    "br-cpf": ["<390.533.447-05>", "CPF <39053344705>"],
    "pl-pesel": ["PESEL <44051401359>"],
    "ch-ahv": ["<756.9217.0769.85>"],
    "cn-id": ["<360426199101010071>"],
    "in-aadhaar": ["Aadhaar <2341 2341 2346>"],
    "ca-sin": ["SIN <123-456-782>"],
    "api-key": [
        "<AKIA2E4A5RT7XQ6GZMNB>",
        f"<ghp_{TOKEN}{TOKEN[:12]}>",
        f"<xoxb-123456789012-{TOKEN}>",
        f"<AIza{TOKEN}{TOKEN[:11]}>",
        f"<sk_live_{TOKEN}>",
        f"<sk-proj-{TOKEN}>",
        f"<eyJhbGciOiJIUzI1NiJ9.eyJ{TOKEN}.{TOKEN}>",
        f'api_key = "<{TOKEN}>"',
        f"Authorization: Bearer <{TOKEN}>",
        f'{{"client_secret": "<{TOKEN}>"}}',
        "postgres://ana:<hunter22>@localhost/mail",
    ],
    "private-key": [
        f"<-----BEGIN RSA PRIVATE KEY-----\n{TOKEN}\n{TOKEN}\n-----END RSA PRIVATE KEY----->\n",
        f"<-----BEGIN PRIVATE KEY-----\n{TOKEN}\n{TOKEN}>\nThe rest is lost.",
    ],
}
NOTHING = [  # looks like one, and is none
    "icon@2x.png and @home",
    "in 1990 and 2012-2013, 12:34:56.789, on 2012-01-15 or 15/01/2012",
    "Section 9.15.2.1. See version 11.0.3.2; from the server (Section 27.2.5.1)",
    "Policy No. 06 6002 6509",
    "std::vector and Face::Bad, 12:34:56:78:90:ab:cd:ef",
    "127.0.0.1, 192.168.4.20, fe80::1 and ::1",
    "4111 1111 1111 1112",
    "GB82 WEST 1234 5698 7654 33",
    "000-12-3456, 666-12-3456",
    "943 476 5919",
    "12345678A",
    "clause 252.227-7013 and ISSN 2283-5474",
    "1,234,567.89 and 3.14159265358979",
    "10000-5000=5000",
    "password: correct horse battery staple",
    "token = get_token_from_environment_1()",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
]


def split(marked: str) -> tuple[str, int, int]:
    begin, end = marked.index("<"), marked.rindex(">") - 1
    return marked[:begin] + marked[begin + 1 : end + 1] + marked[end + 2 :], begin, end


def kinds(text: str, **knobs: object) -> list[str]:
    return [match.kind for match in Patterns.model_validate(knobs).find([text])[0]]


@pytest.mark.parametrize(("kind", "marked"), [(kind, text) for kind, texts in EXAMPLES.items() for text in texts])
def test_each_kind_is_found_from_its_first_character_to_its_last(kind: str, marked: str) -> None:
    text, begin, end = split(marked)
    assert Patterns().find([text]) == [[Found(kind, begin, end)]]


@pytest.mark.parametrize("text", NOTHING)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert kinds(text) == []


def test_only_the_kinds_that_are_wanted_are_looked_for() -> None:
    text = "jane@example.org, 4111 1111 1111 1111, +44 20 7946 0958"
    assert kinds(text) == ["email", "card", "phone"]
    assert kinds(text, kinds=("card",)) == ["card"]


def test_the_ids_of_a_country_are_found_if_it_is_named() -> None:
    text = "536-90-4399 and 390.533.447-05"
    assert kinds(text, kinds=("national-id",), countries=("br",)) == ["br-cpf"]
    assert kinds(text, kinds=("national-id",), countries=()) == []
    assert len(COUNTRIES) >= 6
    with pytest.raises(ValidationError, match="no ids of atlantis; there are: br, ca"):
        Patterns(countries=("atlantis",))


def test_private_addresses_count_if_asked_for() -> None:
    assert kinds("192.168.4.20 and fe80::1", private_addresses=True) == ["ip", "ip"]


def test_what_is_called_a_secret_must_look_random_enough() -> None:
    text = f"api_key = {TOKEN}"
    assert kinds(text, min_entropy=4.5) == ["api-key"]
    assert kinds(text, min_entropy=4.7) == []


def test_matches_that_overlap_become_one_so_that_nothing_is_left_over() -> None:
    text = f"https://ana:{TOKEN}@example.org"
    assert mask(text, Patterns().find([text])[0]) == "https://ana:[api-key]"


def test_masked_text_has_no_match() -> None:
    texts = [split(marked)[0] for texts in EXAMPLES.values() for marked in texts]
    once = [mask(text, found) for text, found in zip(texts, Patterns().find(texts), strict=True)]
    again = [mask(text, found) for text, found in zip(once, Patterns().find(once), strict=True)]
    assert again == once


@pytest.mark.parametrize("seed", range(20))
def test_the_first_look_hides_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    examples = [split(marked)[0] for texts in EXAMPLES.values() for marked in texts] + NOTHING
    between = [" ", "\n", ", ", "x", "1", "–", "日本", "é" * 50, "word " * 20, "."]
    texts = ["".join(rng.choice(examples) + rng.choice(between) for _ in range(4)) for _ in range(20)]
    found = Patterns().find(texts)
    monkeypatch.setattr(patterns, "look", lambda text: Seen([(0, len(text))], True, True, True))
    assert found == Patterns().find(texts)


def test_a_text_gives_the_same_in_any_batch() -> None:
    texts = [split(marked)[0] for texts in EXAMPLES.values() for marked in texts]
    assert Patterns().find(texts) == [Patterns().find([text])[0] for text in texts]


def test_what_was_found_is_never_shown(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    method = Patterns()
    for marked in [marked for texts in EXAMPLES.values() for marked in texts]:
        text, begin, end = split(marked)
        found = method.find([text])[0]
        shown = repr(found) + repr(method) + method.model_dump_json() + mask(text, found) + caplog.text
        shown += "".join(capfd.readouterr())
        assert text[begin:end] not in shown


HOSTILE = {
    "dots": "a." * 500_000 + "@",
    "dots after": "@" + "a." * 500_000,
    "ats": "a@" * 500_000,
    "addresses": "a@b.co " * 150_000,
    "digits": "1" * 1_000_000,
    "spaced digits": "1 " * 500_000,
    "groups": "1234 5678 " * 100_000,
    "brackets": "(0" * 500_000,
    "plus": "+1" * 500_000,
    "colons": "a:" * 500_000,
    "only colons": ":" * 1_000_000,
    "octets": "1.2.3." * 170_000,
    "begins": "-----BEGIN PRIVATE KEY-----" * 37_000,
    "begin": "-----BEGIN " * 90_000,
    "upper": "AB12" * 250_000,
    "cards": "4111 1111 1111 1111 " * 50_000,
    "ibans": "GB82WEST12345698765432 " * 43_000,
    "ids": "536-90-4399 " * 83_000,
    "tokens": "eyJaaaaaaaaaaaa." * 62_000,
    "equals": "token=a" * 140_000,
    "logins": "://a:" * 200_000,
    "letters": "A" * 1_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_text_that_was_made_to_be_slow_costs_its_length_and_not_its_square(name: str) -> None:
    assert ends_soon(lambda: Patterns().find([HOSTILE[name]]))


def test_a_recipe_reads_what_it_wrote() -> None:
    method = Patterns(kinds=("email",), countries=("us",), action="drop")
    assert Patterns.model_validate({k: v for k, v in method.model_dump().items() if k != "method"}) == method
    assert set(EXAMPLES) == {i.kind for i in IDENTITIES} | set(EVERY) - {"national-id"}
