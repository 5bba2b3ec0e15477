from steps.curation.landed import shown


def test_private_data_is_masked_in_what_is_shown() -> None:
    assert shown("mail jane.roe@example.org") == "mail [email]"


def test_what_the_end_may_cut_through_is_left_out() -> None:
    text = "word " * 22 + "jane.roe@example.org and more"
    assert len(text[:120]) == 120
    assert shown(text[:120]) == ("word " * 22).strip() + " …"
    assert shown("x" * 500) == "…"


def test_what_cannot_be_printed_is_written_out() -> None:
    assert shown("a\x00b") == "a\\x00b"
