"""A Ray cluster of two nodes on this machine, one of which can be killed."""

import logging
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil

from pipelines.edge.ray_engine import LOOPBACK, QUIET
from pipelines.edge.runtime import Function, Map
from pipelines.edge.settings import Runtime


class TwoNodes:
    """A head that stays, and a second node."""

    def __init__(self, cluster: Any, second: Any) -> None:
        self.cluster = cluster
        self.raylet: int = second.all_processes["raylet"][0].process.pid
        self.settings = Runtime(engine="ray", address=cluster.address)

    def kill_second(self) -> None:
        """SIGKILL to the second node: its raylet and all of its workers, as when the machine goes down."""
        raylet = psutil.Process(self.raylet)
        processes = [raylet, *raylet.children(recursive=True)]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=20)


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """Both nodes, on loopback, one core each; and nothing of them afterwards."""
    os.environ.update({**QUIET, LOOPBACK: "0", "RAY_AUTH_MODE": "token"})
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # a process reads it once
    import ray
    from ray.cluster_utils import Cluster

    logging.getLogger("ray").setLevel(logging.ERROR)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield TwoNodes(cluster, cluster.add_node(num_cpus=1))
    finally:
        ray.shutdown()
        cluster.shutdown()


def breaking(inner: Map, after: int, do: Callable[[], None]) -> Map:
    """A map that does something once it has given so many results."""

    def broken(function: Function, jobs: Sequence[Any]) -> Iterator[Any]:
        for number, result in enumerate(inner(function, jobs), start=1):
            yield result
            if number == after:
                do()

    return broken
