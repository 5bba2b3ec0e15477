"""`make bench-curation`: each benchmark in turn, or the one that is named, with its options.

python -m benchmarks.curation [rules | minhash | history | size] [--help]

`size` (a file of 5 GB) runs only when it is named.
"""

import importlib
import sys

NAMES = ("rules", "minhash", "history")  # those of `make bench-curation`
NAMED = (*NAMES, "size")


def main(words: list[str]) -> int:
    if words and words[0] not in NAMED and words[0] in {"-h", "--help"}:
        print(__doc__)
        return 0
    named = [word for word in words[:1] if word in NAMED]
    for name in named or NAMES:
        print(f"== {name}", file=sys.stderr, flush=True)
        sys.argv = [f"benchmarks.curation {name}", *(words[1:] if named else words)]
        importlib.import_module(f"benchmarks.curation.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
