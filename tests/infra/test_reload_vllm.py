"""The example that keeps a server on the champion, against a real registry; a small process stands in for vLLM."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import torch
from safetensors.torch import save_file

from infra.examples import reload_vllm
from pipelines.edge.home import Home
from pipelines.edge.registry import Registry, experiment_id
from pipelines.service.announce import announce_pending
from tests.servers import free_port, prefect_server, running, until

STANDIN = """
import http.server, json, os, signal, subprocess, sys, time
link, port, pid = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if sys.argv[4:] == ["serve"]:
    config = json.load(open(link + "/config.json"))
    assert not config.get("broken"), "cannot load it"
    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.end_headers()
            self.wfile.write(os.path.realpath(link).encode() if self.path == "/weights" else b"{}")
    http.server.HTTPServer(("127.0.0.1", port), Answers).serve_forever()
if os.path.exists(pid):
    try:
        os.kill(int(open(pid).read()), signal.SIGKILL)
    except ProcessLookupError:
        pass
new = subprocess.Popen([sys.executable, __file__, link, str(port), pid, "serve"], stdin=subprocess.DEVNULL,
    stdout=open(pid + ".log", "ab"), stderr=subprocess.STDOUT, start_new_session=True)
open(pid, "w").write(str(new.pid))
"""


class Serving:
    """A link, a server that stands in for vLLM, and the example's words for it."""

    def __init__(self, home: Home, log: pytest.LogCaptureFixture) -> None:
        log.set_level("INFO", "reload_vllm")
        self.log = log
        self.home, self.port, self.link = home, free_port(), home.root / "served" / "champion"
        self.address = f"http://127.0.0.1:{self.port}"
        script = home.root / "standin.py"
        script.write_text(STANDIN, encoding="utf-8")
        self.pid = home.root / "pid"
        restart = f"{sys.executable} {script} {self.link} {self.port} {self.pid}"
        self.words = ["--model", "lamp", "--link", str(self.link)]
        self.words += ["--restart", restart, "--health", f"{self.address}/health", "--wait", "15", "--every", "0.2"]
        self.words += ["--mlflow", f"sqlite:///{home.hidden / 'mlflow.db'}"]

    def once(self) -> tuple[int, str]:
        """Look once; returns the exit code, and what it said."""
        self.log.clear()
        return reload_vllm.main([*self.words, "--once"]), self.log.text

    def weights(self) -> Path | None:
        """What the server runs with; none while it does not answer."""
        try:
            return Path(httpx.get(f"{self.address}/weights").text)
        except httpx.HTTPError:
            return None

    def end(self) -> None:
        if self.pid.exists():
            os.kill(int(self.pid.read_text()), signal.SIGKILL)


@pytest.fixture
def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Serving]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "perennial.yaml").write_text("name: lamp\n", encoding="utf-8")
    found = Serving(Home(tmp_path), caplog)
    yield found
    found.end()


def accept(home: Home, config: str = "{}", **files: bytes) -> Path:
    """Register a version and make it the champion; returns its folder of weights."""
    registry = Registry(home)
    number = len(registry.versions()) + 1
    staging = home.hidden / "staging" / str(number)
    weights = staging / "artifacts" / "model"
    weights.mkdir(parents=True)
    (weights / "config.json").write_text(config, encoding="utf-8")
    save_file({"x": torch.full((4,), float(number))}, weights / "model.safetensors")
    for name, content in files.items():
        (weights / name.replace("_dot_", ".")).write_bytes(content)
    run = registry.client.create_run(experiment_id(home)).info.run_id
    registry.register(f"attempt{number}", run, staging, {})
    registry.move("champion", str(number), "accepted")
    return (registry.folder(str(number)) / "artifacts" / "model").resolve()


def test_the_server_follows_the_champion(serving: Serving) -> None:
    assert serving.once()[0] == 0, "nothing was accepted yet"
    for _ in range(2):
        folder = accept(serving.home)
        code, said = serving.once()
        assert code == 0
        assert f"served: {folder}" in said
        assert serving.weights() == folder == serving.link.resolve()
    pid = serving.pid.read_text()
    assert serving.once()[0] == 0
    assert serving.pid.read_text() == pid, "no restart where nothing has moved"


def test_the_old_weights_stay_where_the_server_does_not_run_with_the_new(serving: Serving) -> None:
    good = accept(serving.home)
    assert serving.once()[0] == 0
    bad = accept(serving.home, '{"broken": true}')
    serving.words[serving.words.index("--wait") + 1] = "2"
    code, said = serving.once()
    assert code == 1
    assert f"{bad}: the server did not become healthy with these weights; the server is back on the old ones" in said
    assert serving.weights() == good == serving.link.resolve()


@pytest.mark.parametrize(
    ("config", "files", "why"),
    [
        ("{}", {"pytorch_model_dot_bin": b"x"}, r"pytorch_model.bin may run code"),
        ("{}", {"modeling_dot_py": b"x"}, r"modeling.py may run code"),
        ('{"auto_map": {}}', {}, "names code of its own"),
        ("{}", {"more_dot_safetensors": b"\x80\x04pickle"}, "cut short or no safetensors"),
        ("{}", {"model_dot_safetensors": (50).to_bytes(8, "little") + b"{}"}, "cut short or no safetensors"),
    ],
)
def test_what_can_run_code_or_is_cut_short_is_not_served(
    serving: Serving, config: str, files: dict[str, Any], why: str
) -> None:
    accept(serving.home, config, **files)
    code, said = serving.once()
    assert code == 1
    assert why in said
    assert "the server is left as it is" in said
    assert not serving.link.exists()
    assert not serving.pid.exists()


def kill_between_restarts(watching: "subprocess.Popen[bytes]") -> None:
    """End a watcher, and wait for a restart that is under way: the server of one that was forgotten would stay."""
    watching.send_signal(signal.SIGSTOP)
    restarts = psutil.Process(watching.pid).children()
    watching.kill()
    watching.wait()
    psutil.wait_procs(restarts, timeout=20)


@pytest.mark.pipeline
def test_it_is_woken_by_prefects_event(serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    first = accept(serving.home)
    strict = prefect_server(tmp_path / "prefect")
    strict.environment["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] = "true"  # as `perennial up` starts it
    with running(strict) as server:
        api = f"{server.address}/api"
        with (tmp_path / "said").open("wb") as said:
            words = [sys.executable, reload_vllm.__file__, *serving.words, "--prefect", api]
            watching = subprocess.Popen(words, stdout=said, stderr=said)
        try:
            until(lambda: serving.weights() == first, "the first champion to be served")
            second = accept(serving.home)
            monkeypatch.setenv("PREFECT_API_URL", api)
            with temporary_settings({PREFECT_API_URL: api}):  # an earlier test may have read the environment before
                told = announce_pending(serving.home)
            assert {row["what"] for row in told} == {"moved"}
            assert {result for row in told for result in row["channels"].values()} == {"ok"}
            until(lambda: serving.weights() == second, "the second champion to be served")
        finally:
            kill_between_restarts(watching)
