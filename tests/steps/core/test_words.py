from steps.core.words import Tables, Words


def test_the_columns_are_passed_in_the_order_in_which_the_compiled_code_names_them() -> None:
    assert Words._fields == ("texts", "begin", "end", "flags", "hashes")
    assert Tables._fields[0] == "classes"
