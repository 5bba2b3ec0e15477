import gzip
from pathlib import Path

import pytest

from steps.methods.reader import Record, Rejected
from steps.methods.reader.pdf import Pdf


def pdf(*pages: str, kids: str = "", trailer: str = "") -> bytes:
    """A PDF whose pages show lines of text."""
    numbers = [4 + 2 * index for index in range(len(pages))]
    objects = {1: "<< /Type /Catalog /Pages 2 0 R >>"}
    objects[2] = f"<< /Type /Pages /Kids [{kids or ' '.join(f'{n} 0 R' for n in numbers)}] /Count {len(pages)} >>"
    objects[3] = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    for number, page in zip(numbers, pages, strict=True):
        shown = " T* ".join(f"({line}) Tj" for line in page.split("\n"))
        stream = f"BT /F1 12 Tf 14 TL 72 700 Td {shown} ET"
        font = "/Resources << /Font << /F1 3 0 R >> >> /MediaBox [0 0 612 792]"
        objects[number] = f"<< /Type /Page /Parent 2 0 R {font} /Contents {number + 1} 0 R >>"
        objects[number + 1] = f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream"
    made, places = b"%PDF-1.4\n", []
    for number in sorted(objects):
        places.append(len(made))
        made += f"{number} 0 obj\n{objects[number]}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n<< /Size {len(objects) + 1} /Root 1 0 R "
    return made + f"{end}{trailer}>>\nstartxref\n{len(made)}\n%%EOF\n".encode()


def read(tmp_path: Path, content: bytes, **knobs: int) -> Record | Rejected:
    file = tmp_path / "paper.pdf"
    file.write_bytes(content)
    (found,) = Pdf(**knobs).read(file, "papers/paper.pdf")
    return found


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_pages_are_joined_in_their_order(tmp_path: Path, pack: type[bytes]) -> None:
    content = pack(pdf("One line\nand another", "", "Third page"))
    assert read(tmp_path, content) == Record(1, "One line\nand another\n\nThird page", "papers/paper.pdf")


def test_a_word_broken_at_the_end_of_a_line_is_joined(tmp_path: Path) -> None:
    assert read(tmp_path, pdf("a hyphen-\nated word")) == Record(1, "a hyphenated word", "papers/paper.pdf")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty-file"),
        (b"%PDF-1.4\njunk", "damaged-pdf"),
        (pdf("One", "Two")[:400], "damaged-pdf"),
        (pdf(""), "no-text"),
        (pdf("One", kids="2 0 R 2 0 R"), "damaged-pdf"),
        (b"PK\x03\x04", "archive"),
        (pdf("x" * 2000), "file-too-long"),
    ],
)
def test_half_a_document_is_none(tmp_path: Path, content: bytes, reason: str) -> None:
    found = read(tmp_path, content, max_line_bytes=2048)
    assert isinstance(found, Rejected)
    assert found.reason == reason


def test_a_file_that_asks_for_a_password_is_rejected(tmp_path: Path) -> None:
    guard = f"/Encrypt << /Filter /Standard /V 1 /R 2 /O <{'00' * 32}> /U <{'00' * 32}> /P -4 >> /ID [<00> <00>] "
    found = read(tmp_path, pdf("One", trailer=guard))
    assert isinstance(found, Rejected)
    assert found.reason == "encrypted"
