import hashlib
import json
import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError

from steps.core.documents import Document, Message, content_hash
from steps.core.models import digest_of_model, load_tokenizer
from steps.methods.repair import Repaired
from steps.methods.repair._programs import execute, says_drop
from steps.methods.repair._refiner import Refiner, chunks_of, first_tokens
from steps.methods.repair.refine import Refine
from tests.builders import build_document
from tests.tiny_models import tiny_model

FIVE = "zero\none\ntwo\nthree\nfour"
LONG = "\n".join(f"line {number} has exactly these six words" for number in range(10))  # 10 lines of 8 words


def refine_with(root: Path, program: str, text: str, stage: str = "chunk", **knobs: object) -> Repaired:
    (root / "programs.jsonl").write_text(json.dumps({"key": "k", "program": program}) + "\n")
    method = Refine.model_validate({"stage": stage, "programs": "programs.jsonl", **knobs}).located(root)
    return method.repair([build_document("k", text)])[0]


@pytest.mark.parametrize(
    ("program", "left", "num_errors"),
    [
        ("keep_all()", FIVE, 0),
        ("", FIVE, 0),
        ("I would remove_lines(line_start=0, line_end=4)", FIVE, 0),  # no operation begins the line: keep
        ("remove_lines(line_start=1, line_end=3)", "zero\nfour", 0),  # both ends included, from 0 on
        ("remove_lines( line_start = 0 ,line_end=0 )  ", "one\ntwo\nthree\nfour", 0),
        ("remove_lines(all=True)", "", 0),
        ("remove_lines(line_start=0, line_end=0)\nremove_lines(line_start=4, line_end=4)", "one\ntwo\nthree", 0),
        ("remove_lines(line_start=3, line_end=2)", FIVE, 0),  # an empty interval is none
        ("remove_lines(line_start=4, line_end=9)", "zero\none\ntwo\nthree", 1),  # what lies within is removed
        ("remove_lines(line_start=5, line_end=6)", FIVE, 1),
        ("remove_lines(line_start=5, line_end=6)\nremove_lines(line_start=7, line_end=8)", FIVE, 1),  # they touch
        ("remove_lines(line_start=5, line_end=6)\nremove_lines(line_start=8, line_end=8)", FIVE, 2),
        ("remove_lines(line_start=4, line_end=5)\nremove_lines(line_start=6, line_end=7)", "zero\none\ntwo\nthree", 1),
        ("remove_lines(line_start=1, line_end=2", FIVE, 1),  # the source would remove line 1 only
        ("remove_lines line_start=1, line_end=2)", FIVE, 1),
        ("remove_lines(1, 2)", FIVE, 1),
        ("remove_lines(line_start=-1, line_end=2)", FIVE, 1),
        ("remove_lines(line_start=one, line_end=2)", FIVE, 1),
        ("remove_lines(all=False)", FIVE, 1),
        ("remove_lines()", FIVE, 1),
    ],
)
def test_lines_are_removed_as_the_program_says(program: str, left: str, num_errors: int) -> None:
    edited = execute(program, FIVE)
    assert (edited.text, edited.num_errors) == (left, num_errors)


@pytest.mark.parametrize(
    ("program", "text", "left"),
    [
        ('normalize(source_str=" | Home")', "a | Home b | Home", "a b"),  # every occurrence
        ('normalize(source_str="cafe", target_str="café")', "cafe, cafe", "café, café"),
        ('normalize(source_str="", target_str="x")', "a b", "a b"),
        ('normalize(source_str=" ", target_str="_")', "a b", "a b"),
        ('normalize(source_str=" ")', "a b", "ab"),  # the exception is for replacements only
        ('normalize(source_str="")', "a b", "a b"),
        ('normalize(source_str="a, b = c")', "x a, b = c y", "x  y"),
        ('normalize(source_str="href="a", class="b"")', '<a href="a", class="b">', "<a >"),
        ('normalize(source_str="f(x)", target_str="g(x), h=1")', "f(x)!", "g(x), h=1!"),
        ('normalize(source_str="say "hi"", target_str="")', 'say "hi" now', " now"),
        ("normalize(source_str='it', target_str='\"it\"')", "it is", '"it" is'),
        (r'normalize(source_str="\frac", target_str="\n")', r"\frac 1", r"\n 1"),  # letter for letter: no escapes
        ('normalize(source_str="a", target_str="b")\nnormalize(source_str="b", target_str="c")', "ab", "cc"),
    ],
)
def test_strings_are_replaced_as_the_program_says(program: str, text: str, left: str) -> None:
    edited = execute(program, text)
    assert (edited.text, edited.num_errors) == (left, 0)


@pytest.mark.parametrize(
    "operation",
    [
        'normalize(source_str="cut off',
        'normalize(source_str="a", target_str="cut off',
        'normalize("a", "b")',
        "normalize(source_str=a)",
        'normalize source_str="a")',
        'normalize(source_str="a") and more',
        'normalize(source_str="' + "a" * 20_000 + '")',
    ],
)
def test_a_normalisation_that_does_not_parse_is_one_error_and_does_nothing(operation: str) -> None:
    edited = execute(operation, "a cut off b")
    assert (edited.text, edited.num_errors) == ("a cut off b", 1)


def test_removals_come_after_replacements_wherever_they_stand() -> None:
    edited = execute('remove_lines(line_start=0, line_end=0)\nnormalize(source_str="a", target_str="b")', "a\na")
    assert (edited.text, edited.num_removed, edited.num_replaced) == ("b", 1, 2)


def test_replacements_that_double_the_text_again_and_again_are_errors() -> None:
    edited = execute('normalize(source_str="a", target_str="aa")\n' * 60, "a" * 100)
    assert len(edited.text) <= 40_000
    assert edited.num_errors > 40


def test_hostile_programs_take_no_time() -> None:
    quotes = 'normalize(source_str="' + '"' * 19_000
    targets = 'normalize(source_str="' + '", target_str="' * 1_300 + "x"
    spaces = "remove_lines(" + " " * 19_000 + "x"
    edited = execute("\n".join([quotes, targets, spaces, "remove_lines(line_start=0, line_end=999999999)"]), FIVE)
    assert (edited.text, edited.num_errors) == ("", 4)


def test_nothing_of_a_program_is_evaluated() -> None:
    text = "__import__('os').system('exit')"
    assert execute(f"remove_lines(line_start={text}, line_end=2)\n{text}", FIVE).num_errors == 1


@pytest.mark.parametrize(
    ("program", "drop"), [("drop_doc()", True), ("keep_doc()", False), ("", False), ("a drop", True)]
)
def test_the_document_stage_drops_what_its_program_says(tmp_path: Path, program: str, drop: bool) -> None:
    assert says_drop(program) == drop
    repaired = refine_with(tmp_path, program, LONG, stage="document")
    assert repaired == (Repaired("", "refine-drop") if drop else Repaired(LONG))


def remove(first: int, last: int) -> str:
    return f"remove_lines(line_start={first}, line_end={last})"


BROKEN = "\nremove_lines(\nremove_lines("


def test_an_edit_is_taken_and_counted(tmp_path: Path) -> None:
    repaired = refine_with(tmp_path, remove(0, 7) + '\nnormalize(source_str="exactly ")', LONG)
    assert repaired.text == "line 8 has these six words\nline 9 has these six words"
    assert repaired.changes == {"lines": 8, "strings": 10}


def test_a_document_that_all_but_vanishes_is_dropped(tmp_path: Path) -> None:
    hundred = "word " * 94 + "\n" + "left " * 6  # 6 of 100 words are more than 5 %, but 10 or fewer
    assert refine_with(tmp_path, remove(0, 0), "word " * 10 + hundred).reason == "refine-short"
    assert refine_with(tmp_path, remove(0, 0), "word " * 30 + hundred).reason == "refine-emptied"
    assert refine_with(tmp_path, "remove_lines(all=True)", LONG).reason == "refine-emptied"


def test_the_share_that_empties_is_met_at_its_border(tmp_path: Path) -> None:
    text = "word " * 380 + "\n" + "left " * 20  # 20 of 400 words: rho is 1 - 0.95
    assert refine_with(tmp_path, remove(0, 0), text).reason == "refine-emptied"
    assert refine_with(tmp_path, remove(0, 0), text + "left").reason == ""


def test_a_broken_program_leaves_the_original(tmp_path: Path) -> None:
    repaired = refine_with(tmp_path, remove(0, 5) + BROKEN, LONG)
    assert repaired == Repaired(LONG, changes={"errors": 2})


def test_one_error_is_forgiven(tmp_path: Path) -> None:
    repaired = refine_with(tmp_path, remove(0, 5) + "\nremove_lines(", LONG)
    assert repaired.text == "\n".join(LONG.split("\n")[6:])
    assert repaired.changes == {"lines": 6, "errors": 1}


def test_a_short_document_goes_even_when_its_program_is_broken_unless_the_rule_is_off(tmp_path: Path) -> None:
    assert refine_with(tmp_path, BROKEN, "ten words or fewer").reason == "refine-short"
    assert refine_with(tmp_path, BROKEN, "ten words or fewer", min_words=0).text == "ten words or fewer"


def test_a_document_without_words_breaks_no_division(tmp_path: Path) -> None:
    assert refine_with(tmp_path, "keep_all()", " \n ").reason == "refine-short"


def test_the_thresholds_are_knobs(tmp_path: Path) -> None:
    assert refine_with(tmp_path, remove(0, 5), LONG, threshold_1=0.5).text == LONG
    assert refine_with(tmp_path, remove(0, 5), LONG, threshold_2=0.5).reason == "refine-emptied"
    assert refine_with(tmp_path, remove(0, 5) + BROKEN, LONG, error_op=3).text != LONG


def test_programs_are_found_by_key_and_content(tmp_path: Path) -> None:
    rows = [
        {"key": "a", "program": remove(0, 0)},
        {"key": "b", "program": remove(1, 1), "content_hash": content_hash("an older text")},
        {"key": "c", "program": "keep_all()"},
        {"key": "c", "program": remove(2, 2), "content_hash": content_hash(LONG)},
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    method = Refine(stage="chunk", programs="p.jsonl").located(tmp_path)
    found = method.repair([build_document(key, LONG) for key in "abcd"])
    assert [it.changes for it in found] == [{"lines": 1}, {}, {"lines": 1}, {}]
    assert found[1].text == found[3].text == LONG


def test_a_labelled_record_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(json.dumps({"key": "k", "program": "drop"}))
    turns = (Message(role="user", content="Why?"), Message(role="assistant", content="So."))
    document = Document.model_validate(build_document("k", "Why?\n\nSo.").model_dump() | {"messages": turns})
    method = Refine(stage="document", programs="p.jsonl").located(tmp_path)
    assert method.repair([document]) == [Repaired("Why?\n\nSo.")]


@pytest.mark.parametrize("row", ["{", "[]", '{"key": "k"}', '{"key": 1, "program": ""}'])
def test_a_row_that_is_no_program_is_named_by_its_line(tmp_path: Path, row: str) -> None:
    (tmp_path / "p.jsonl").write_text('{"key": "k", "program": ""}\n' + row)
    with pytest.raises(ValueError, match="line 2"):
        Refine(stage="chunk", programs="p.jsonl").located(tmp_path).repair([build_document("k", LONG)])


@pytest.mark.parametrize("path", ["/etc/passwd", "../p.jsonl", "a/../../p.jsonl", ""])
def test_a_path_out_of_the_workspace_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="wanted"):
        Refine(stage="chunk", programs=path)


def test_a_link_out_of_the_workspace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside.jsonl").write_text("")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "p.jsonl").symlink_to(tmp_path / "outside.jsonl")
    with pytest.raises(ValueError, match="leads out of the workspace"):
        Refine(stage="chunk", programs="p.jsonl").located(tmp_path / "root")


def test_exactly_one_source_of_programs_is_wanted() -> None:
    with pytest.raises(ValidationError, match="either programs or refiner"):
        Refine(stage="chunk")
    with pytest.raises(ValidationError, match="either programs or refiner"):
        Refine(stage="chunk", programs="a", refiner="b")


def test_a_file_that_is_not_there_and_one_that_changed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"wanted a file .*found none"):
        Refine(stage="chunk", programs="p.jsonl").located(tmp_path)
    (tmp_path / "p.jsonl").write_text("")
    digest = hashlib.sha256(b"").hexdigest()
    Refine(stage="chunk", programs="p.jsonl", digest=digest).located(tmp_path)
    (tmp_path / "p.jsonl").write_text("\n")
    with pytest.raises(ValueError, match=f"wanted digest {digest}, found"):
        Refine(stage="chunk", programs="p.jsonl", digest=digest).located(tmp_path)


def test_where_it_runs_is_no_part_of_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(json.dumps({"key": "k", "program": "drop"}))
    method = Refine(stage="document", programs="p.jsonl")
    located = method.located(tmp_path, device="cpu")
    assert located.model_dump() == method.model_dump()
    travelled = pickle.loads(pickle.dumps(located))
    assert travelled.repair([build_document("k", LONG)])[0].reason == "refine-drop"


def test_lines_are_numbered_from_zero_over_all_chunks_and_packed_in_order(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_model(tmp_path / "m"))  # a byte is a token
    text = "\n".join(["ab"] * 4 + ["x" * 50, "cd"])  # [000]ab is 7 tokens, and one for its break
    chunks = list(chunks_of(tokenizer, text, 32))
    assert chunks[0] == "[000]ab\n[001]ab\n[002]ab\n[003]ab"
    assert chunks[1] == "[004]" + "x" * 27
    assert chunks[2] == "[005]cd"
    assert len(chunks) == 3
    assert next(chunks_of(tokenizer, "\n" * 1000, 10**6)).endswith("\n[999]\n[1000]")


def test_a_text_is_cut_at_a_token(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_model(tmp_path / "m"))
    assert first_tokens(tokenizer, "abcdef", 4) == "abcd"
    assert first_tokens(tokenizer, "abc", 4) == "abc"
    assert first_tokens(tokenizer, "abc", 0) == ""


def test_a_prompt_is_cut_in_its_text_and_keeps_its_end(tmp_path: Path) -> None:
    refiner = Refiner(tiny_model(tmp_path / "m"), "cpu")
    tokenizer = load_tokenizer(tmp_path / "m")
    prompt = tokenizer.decode(refiner._fitting("word " * 500, 150))
    assert len(prompt) <= 150 + len("<|begin|>")
    assert prompt.startswith("<|begin|>[INST] <<SYS>>\nYou are a helpful")
    assert "word word" in prompt
    assert prompt.endswith(" [/INST]")


def test_a_special_token_in_a_text_is_text(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "m")
    ids = Refiner(folder, "cpu")._ids("<|end|> and on")
    assert load_tokenizer(folder).eos_token_id not in ids


def test_a_refiner_writes_programs_greedily(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "models" / "refiner")
    digest = digest_of_model(folder)
    document = build_document("k", LONG)
    for stage in ("document", "chunk"):
        knobs = {"stage": stage, "refiner": "models/refiner", "digest": digest, "new_tokens": 8, "prompt_tokens": 200}
        method = Refine.model_validate(knobs).located(tmp_path)
        first, second = method.repair([document]), method.repair([document, document])
        assert first == second[:1] == second[1:]
        assert first[0].text == LONG  # a random model writes no operation, and so keeps


def test_a_refiner_s_own_chat_template_is_taken(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "m")
    template = "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}<go>"
    (folder / "chat_template.jinja").write_text(template)
    ids = Refiner(folder, "cpu")._ids("[doc]\n[000]a\n[/doc]")
    wanted = "<system>You are a helpful, respectful and honest assistant.<user>[doc]\n[000]a\n[/doc]<go>"
    assert load_tokenizer(folder).decode(ids) == wanted
