"""Arrow files as Hugging Face `datasets` saves them: one record per row."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from steps.core.method import Cite
from steps.methods.reader import SIDECARS, Record, Rejected, excerpt
from steps.methods.reader._guard import GuardedReader
from steps.methods.reader._shared import whole_text
from steps.methods.reader._tables import known_columns, one_thread, records_of

FILE_MAGIC = b"ARROW1"
STREAM_MAGIC = b"\xff\xff\xff\xff"


class Datasets(GuardedReader):
    """One record per row of an `.arrow` file: the stream that `save_to_disk` writes, or Arrow's file format.

    Rule: a row is a record if it has a string `text` that is not blank, or is a labelled one; `line` is its number.

    Which columns are read, and what a labelled row is, `_rows.record_of` says. `dataset_info.json`, `state.json` and
    `dataset_dict.json`, which lie beside the files, hold no records. Every batch is checked before it is used.
    Reduces to: none (a file format).
    """

    cite: ClassVar[Cite] = Cite(
        title="Arrow Columnar Format", id="apache/arrow", where="IPC streaming and file format", checked="recalled"
    )
    libraries: ClassVar[tuple[str, ...]] = ("pyarrow.ipc",)

    def parse(self, file: Path, name: str) -> Iterator[Record | Rejected]:
        """The records of a file, in the order of its rows."""
        import pyarrow
        import pyarrow.ipc

        if name.rpartition("/")[2].lower() in SIDECARS:
            text = whole_text(file, self)
            if isinstance(text, Rejected):
                yield text
            elif not isinstance(json.loads(text), dict):
                yield Rejected(1, "not-an-object", excerpt(text))
            return
        with file.open("rb") as stream:
            start = stream.read(1024)
        if not start.startswith((FILE_MAGIC, STREAM_MAGIC)):
            yield Rejected(1, "not-arrow" if start else "empty-file", excerpt(start))
            return
        one_thread()
        with pyarrow.OSFile(str(file)) as source:
            yield from records_of(_batches(source, start.startswith(FILE_MAGIC)), file, self)


def _batches(source: Any, is_file: bool) -> Iterator[Any]:
    import pyarrow.ipc

    reader = pyarrow.ipc.open_file(source) if is_file else pyarrow.ipc.open_stream(source)
    columns = known_columns(reader.schema.names)
    for batch in (reader.get_batch(index) for index in range(reader.num_record_batches)) if is_file else reader:
        known = batch.select(columns)
        known.validate(full=True)  # an offset outside its buffer would be read from somewhere else
        yield known
