"""Find personal data with Microsoft's Presidio, where it is installed."""

import logging
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, ClassVar

from pydantic import Field

from steps.core.method import Cite
from steps.methods.privacy import Found, Privacy
from steps.methods.privacy._shared import without_overlap

KINDS = {  # Presidio's name -> ours, where we have the kind too
    "EMAIL_ADDRESS": "email",
    "IP_ADDRESS": "ip",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
}
PIECE = re.compile(r"(?s).{1,100000}(?:\s|\Z)|.{1,100000}")  # spaCy's models take texts of a limited length


class Presidio(Privacy):
    """Presidio's recognisers for a language; with a spaCy model also names and places.

    Rule:       what Presidio's analyzer finds with a score of at least `min_score`; matches that overlap become one.
                Without a model its recognisers of patterns, with the words around them in lower case as context.
    Units:      Presidio's scores, 0..1
    Differs:    nothing is downloaded: a model must be installed, and the list of public suffixes is the one in the
                package. Its patterns take more than linear time on some texts.
    Reduces to: none (another library's recognisers)
    """

    cite: ClassVar[Cite] = Cite(
        title="Presidio analyzer", id="microsoft/presidio", where="AnalyzerEngine.analyze", checked="code"
    )

    language: str = Field("en", description="ISO 639-1 code of the recognisers' language")
    entities: tuple[str, ...] = Field(
        ("EMAIL_ADDRESS", "IP_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "US_SSN"),
        description="Presidio's names of what is looked for; empty: all that it knows",
    )
    min_score: float = Field(0.4, ge=0, le=1, description="score from which a match counts, 0..1")
    model: str = Field("", description="an installed spaCy model, such as en_core_web_sm; empty: patterns only")

    def find(self, texts: Sequence[str]) -> list[list[Found]]:
        """The matches of each text, in the order of their places, without overlap.

        Raises:
            ValueError: Presidio or the model is not installed.
        """
        analyzer = _analyzer(self.language, self.model)
        return [without_overlap(self._matches(analyzer, text)) for text in texts]

    def _matches(self, analyzer: Any, text: str) -> Iterator[Found]:
        for piece in PIECE.finditer(text):
            wanted = list(self.entities) or None
            results = analyzer.analyze(piece[0], self.language, entities=wanted, score_threshold=self.min_score)
            for result in results:
                kind = KINDS.get(result.entity_type, result.entity_type.lower().replace("_", "-"))
                yield Found(kind, piece.start() + result.start, piece.start() + result.end)


@cache
def _analyzer(language: str, model: str) -> Any:
    """The analyzer, made once in a process."""
    try:
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
        from presidio_analyzer.nlp_engine import SpacyNlpEngine
    except ImportError as error:
        raise ValueError("privacy: presidio is not installed; pip install 'perennial[presidio]'") from error
    import spacy

    logging.getLogger("presidio-analyzer").setLevel(logging.WARNING)  # below that it writes down what it reads
    if model and not spacy.util.is_package(model):  # Presidio itself would download it
        raise ValueError(f"privacy: presidio's model {model} is not installed; install it, or leave model empty")
    engine = SpacyNlpEngine(models=[{"lang_code": language, "model_name": model or "none"}])
    engine.nlp = {language: spacy.load(model) if model else _words(language)}
    registry = RecognizerRegistry(supported_languages=[language])
    registry.load_predefined_recognizers(languages=[language], nlp_engine=engine if model else None)
    registry.remove_recognizer("EmailRecognizer", language=language)
    if not model:
        registry.remove_recognizer("SpacyRecognizer", language=language)
    registry.add_recognizer(_emails(language))
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=[language])


def _words(language: str) -> Any:
    """spaCy's tokenizer alone; a word's lemma is the word in lower case."""
    import spacy

    @spacy.Language.component("perennial_lower_case")  # type: ignore[untyped-decorator]
    def lower_case(doc: Any) -> Any:
        for token in doc:
            token.lemma_ = token.lower_
        return doc

    words = spacy.blank(language)
    words.add_pipe("perennial_lower_case")
    return words


def _emails(language: str) -> Any:
    """Presidio's recogniser of e-mail addresses, which would ask the network for the list of public suffixes."""
    import tldextract
    from presidio_analyzer.predefined_recognizers import EmailRecognizer

    suffixes = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)

    class Offline(EmailRecognizer):  # type: ignore[misc]  # the library may not be installed
        def validate_result(self, pattern_text: str) -> bool:
            return bool(suffixes(pattern_text).fqdn)

    return Offline(supported_language=language)
