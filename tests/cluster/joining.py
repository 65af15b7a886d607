"""A cluster with a TPU slice (by its labels) is joined; prints what came of it as JSON.

A process of its own: Ray's driver joins one cluster at a time.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["RAY_AUTH_TOKEN"] = "token-of-this-test"
from cluster.join import SliceReservation, find_cluster, join  # noqa: I001,E402

import ray  # noqa: E402
import launch  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

from cluster import crew as crew_module, notice  # noqa: E402
from cluster.hosts import read_hosts  # noqa: E402
from cluster.security import answers_without_token  # noqa: E402
from cluster.workers import start_actor, start_workers  # noqa: E402
from configs.errors import InputError  # noqa: E402
from configs.schema import LoopSection, RunConfig  # noqa: E402

SLOW, FAST = (RunConfig(loop=LoopSection(wait_timeout_s=s)) for s in (60.0, 2.0))
NODE = {"num_cpus": 4, "num_gpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False}


def tpu_host(rank):
    labels = {"slice-name": "s0", "worker-id": str(rank), "topology": "2x2x2", "pod-type": "v4-16"}
    return {
        "labels": {f"ray.io/tpu-{name}": value for name, value in labels.items()}
        | {"showwork-role": "learner"},
        "resources": {"TPU": 4} | ({"TPU-v4-16-head": 1} if rank == 0 else {}),
        "env_vars": {"TPU_NAME": "s0"},
    }


class Shows:
    def here(self):
        return ray.get_runtime_context().get_node_id()


class Works:
    """Until it is asked to leave; writes down where it was started."""

    leaving = False

    def __init__(self, number, folder):
        with (folder / f"{number}").open("a") as file:
            file.write(f"{ray.get_runtime_context().get_node_id()}\n")

    def run(self):
        while not self.leaving:
            time.sleep(0.05)


class Drains:
    def drain(self):
        notice.drain()


def hosts_come_and_go(cluster, connection, places, folder):
    """Where each actor of a pool was in turn, when a host joins and is taken away again."""
    folder.mkdir()
    told, lost, crew_module._LOOK_S = [], {}, 0.5

    def start(role, here, hosts):
        return start_workers(role, Works, here, hosts, (folder,), {})

    def until(happened):
        for _ in range(600):
            lost.update(crew.replace())
            if happened():
                return
            time.sleep(0.1)
        raise AssertionError(told)

    def been(number):
        written = folder / f"{number}"
        return written.read_text().split() if written.exists() else []

    crew = crew_module.Crew(connection, {"rollout": places}, start, told.append)
    cluster.add_node(**NODE, labels={"showwork-role": "rollout"})
    until(lambda: len(crew.places("rollout")) == 2 and been(0) and been(1))
    number = crew.places("rollout")[1]
    taken = start_actor(Drains, crew.settled(), number, (), {})
    ray.get(taken.drain.remote())
    until(lambda: len(been(1)) == 2)
    crew.kill()
    names = {connection.nodes[places[0]]: "old", crew.connection.nodes[number]: "new"}
    where = [[names.get(node, "elsewhere") for node in been(number)] for number in (0, 1)]
    return {"told": told, "lost": lost, "where": where}


def refusal(call):
    began = time.monotonic()
    try:
        call()
    except InputError as error:
        return [str(error), time.monotonic() - began]
    return ["", 0.0]


def main():
    cluster = Cluster()
    cluster.add_node(**NODE, labels={"showwork-role": "head"})
    for more in (tpu_host(1), tpu_host(0), {"labels": {"showwork-role": "rollout"}}):
        cluster.add_node(**NODE, **more)
    address = str(cluster.address)
    said = {"found": find_cluster(address) == address, "open": answers_without_token(address)}
    with join(address, 2, SLOW) as (connection, planned):
        nodes = {node["NodeID"]: node["Labels"] for node in ray.nodes()}
        said["ranks"] = [
            nodes[connection.nodes[n]].get("ray.io/tpu-worker-id") for n in planned.learner
        ]
        said["options"] = [sorted(options) for options in connection.options]
        actors = [start_actor(Shows, connection, n, (), {}) for n in planned.learner]
        where = ray.get([actor.here.remote() for actor in actors], timeout=120)
        said["placed"] = where == [connection.nodes[n] for n in planned.learner]
        said["tpus_left"] = ray.available_resources().get("TPU", 0)
        like = next(h for h in read_hosts(ray.nodes(), "") if h.chips)
        said["second"] = refusal(lambda: SliceReservation(like, 2.0))
    said["short"] = refusal(lambda: join(address, 9, FAST).__enter__())
    ray.shutdown()
    run = Path(sys.argv[1])
    code = launch.main(
        ["--config", str(launch.DEMO.with_name("smoke.toml")), "--run", str(run),
         "--hosts", "9", "--address", address, "loop.wait_timeout_s=1"]
    )  # fmt: skip
    said["launched"] = [code, run.exists()]
    with join(address, 2, SLOW) as (connection, planned):
        said["again"] = True
        folder = run.with_name("crew")
        said["crew"] = hosts_come_and_go(cluster, connection, planned.rollout, folder)
    os.environ["RAY_AUTH_TOKEN"] = ""
    os.environ["RAY_AUTH_TOKEN_PATH"] = "/nonexistent/token"
    said["no_token"] = refusal(lambda: join(address, 2, FAST).__enter__())
    cluster.shutdown()
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
