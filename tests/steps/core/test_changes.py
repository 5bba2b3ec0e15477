from steps.core.changes import changed_spans, marked


def changed(old: str, new: str) -> list[str]:
    return [new[begin:end] for begin, end in changed_spans(old, new)]


def test_the_words_that_stand_where_others_stood_are_changed() -> None:
    assert changed("The limit is 16 files. See below.", "The limit is 32 open files. See below.") == ["32", "open"]


def test_what_is_added_is_changed_and_what_is_left_out_leaves_no_mark() -> None:
    assert changed("One. Two.", "One. Two. Three!") == ["Three", "!"]
    assert changed("One. Two. Three!", "One. Three!") == []


def test_white_space_never_counts() -> None:
    assert changed("a b c\nd e f", "a  b\n\nc d\te f\n") == []


def test_of_a_text_without_an_older_one_all_words_are_changed() -> None:
    assert changed("", "so it is") == ["so", "it", "is"]
    assert changed("so it is", "") == []


def test_a_script_without_spaces_changes_by_the_character() -> None:
    assert changed("今日は雨です。", "今日は雪です。") == ["雪"]


def test_a_word_within_a_long_clause_without_any_end_is_found() -> None:
    words = [f"w{number}" for number in range(200)]
    assert changed(" ".join(words), " ".join([*words[:100], "other", *words[101:]])) == ["other"]


def test_in_a_text_that_says_the_same_again_and_again_one_change_is_found() -> None:
    lines = ["0, 0, 0;"] * 600
    assert changed("\n".join(lines), "\n".join([*lines[:300], "0, 1, 0;", *lines[301:]])) == ["1"]


def test_a_token_is_marked_where_any_of_its_characters_is() -> None:
    offsets = [(0, 3), (3, 7), (7, 8), (0, 0), (8, 10)]
    assert marked(offsets, [(4, 5), (9, 10)]).tolist() == [False, True, False, False, True]
    assert marked(offsets, []).tolist() == [False] * 5
    assert marked([], [(0, 4)]).tolist() == []
