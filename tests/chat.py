"""Chat templates, and tokenizers that have one."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

CHATML = (
    "{% for message in messages %}<|from|>{{ message['role'] }}\n{{ message['content'] }}<|to|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|from|>assistant\n{% endif %}"
)
SAYS_ITSELF = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: {% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}{{ '\n' }}{% endfor %}"
)
SHORTENS = (  # all but the last turn of the assistant, as templates do that drop what was thought
    "{% for message in messages %}{{ message['role'] }}: "
    "{% if message['role'] == 'assistant' and not loop.last %}...{% else %}{{ message['content'] }}{% endif %}"
    "{{ '\n' }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)
DATED = "Today: {{ strftime_now('%d %B %Y') }}\n" + CHATML
TODAY = "{% set format = '%d' %}{{ strftime_now(format) }}" + CHATML
REFUSES = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + CHATML


def chat_tokenizer(template: str | None = None, merges: list[tuple[str, str]] | None = None) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with the special tokens of the templates above."""
    pairs = merges or []
    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(first + second for first, second in pairs)]
    backend = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(letters)}, merges=pairs))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|begin|>",
        eos_token="<|end|>",
        additional_special_tokens=["<|from|>", "<|to|>"],
    )
    tokenizer.chat_template = template
    return tokenizer
