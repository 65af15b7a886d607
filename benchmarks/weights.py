"""How long does a new policy take to the rollout hosts? In pieces from all learner hosts, against
gathering it on one of them, which sends it to everybody.

    uv run python -m benchmarks.weights [--mb 200] [--nic 25] [--hosts 3] [--rounds 3]

So many learner and rollout hosts, and a head, are network namespaces whose cards carry `nic` MB per
second each way (as root; tests/hosts/netns.py), each with a Ray node. The learner's processes are
joined by jax.distributed and hold a policy of `mb` megabytes of bfloat16, an equal part each. Ours
is what a run does: `LearnerHost.export`, `WeightStore`, `Incoming`. The peer gathers the arrays
by a collective, and every rollout host gets them as one object from rank 0, beside its work, too.

In turn, after one turn each that is not counted, and when the network is silent: Ray asks again for
an object that takes longer than 10 s, and what is sent twice still comes when all is there. What
arrives is compared bit for bit. Seconds from the export to the last host that has the policy on its
device; `pause_s`: those in which a host cannot decode (it looks for the policy every 20 ms, the
time of a chunk). Prints one JSON object.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import ray
import xxhash
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from actors.incoming import Incoming
from benchmarks.race import ROOT, environment, last_json, ratio, say, summarize, terminable, turns
from cluster.connect import Connection, init
from cluster.learner_slice import LearnerSlice
from cluster.weights import WeightStore
from cluster.workers import start_actor
from configs.schema import LearnerSection
from learner.host import LearnerHost
from learner.pieces import plan
from learner.policy.sharding import make_mesh
from tests.hosts.cluster import start_nodes
from tests.hosts.netns import Hosts, what_is_missing

PEER = "gather_and_broadcast"
_WIDTH = 2304  # Gemma2-2B's
_CHUNK_S = 0.02
_WAIT_S = 300.0
_DRIVE_S = 900.0
_STORE_BYTES = 3 * 2**30  # policies of both contestants and several turns
_ENV = {"PJRT_NPROC": "1", "OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}


class Holds(LearnerHost):
    """A learner process with parameters and nothing else."""

    def __init__(self, rank: int, world: int, mb: int):
        self.rank, self.world, self._rows = rank, world, round(mb * 1e6 / 2 / _WIDTH)

    def create_state(self, at: int | None = None) -> dict[str, Any]:
        """Half of it is square layers, half an embedding."""
        split = NamedSharding(make_mesh(LearnerSection(fsdp=-1)), P("fsdp"))
        rows = {f"layer.{number}": _WIDTH for number in range(self._rows // 2 // _WIDTH)}
        left = self._rows - sum(rows.values())
        rows["embedding"] = left - left % self.world
        self._params: dict[str, jax.Array] = {
            name: jax.make_array_from_callback(
                (count, _WIDTH), split, lambda index, count=count: _values(index, count)
            )
            for name, count in rows.items()
        }
        self._pieces = {0: plan(self._params, 2)}
        return {"pieces": {0: [*map(len, self._pieces[0])]}}

    def _policy(self, version: int) -> dict[str, jax.Array]:
        return self._params

    def gather(self) -> dict[str, np.ndarray] | None:
        """All of it on rank 0."""
        whole = process_allgather(self._params, tiled=True)
        return None if self.rank else {name: x.view(np.uint16) for name, x in whole.items()}


def _values(index: Any, count: int) -> np.ndarray:
    """[rows, width] bfloat16, below 2, not subnormal: XLA may alter others on their way."""
    start, stop, _ = index[0].indices(count)
    rng = np.random.default_rng((count, start))
    bits = rng.integers(0, 2**16, (stop - start, _WIDTH), np.uint16) & 0xBFFF | 0x2000
    return bits.astype(np.uint16).view(jnp.bfloat16)


class Whole:
    """A policy that is one object, as `Incoming` wants it."""

    def __init__(self, boxed: Sequence[Any]):
        self._boxed = boxed

    def fetch(self, version: int, timeout_s: float, turn: int) -> dict[str, np.ndarray]:
        return ray.get(self._boxed[0], timeout=timeout_s)


class Takes:
    """A rollout host that has work until the policy is here."""

    def __init__(self, number: int, store: WeightStore):
        self._number, self._incoming = number, Incoming(store, _WAIT_S, number)

    def take(self, version: int, boxed: Sequence[Any] = ()) -> dict[str, float]:
        """From the store, or the one object in the box."""
        incoming = Incoming(Whole(boxed), _WAIT_S, self._number) if boxed else self._incoming
        while not incoming.begin(version):
            time.sleep(_CHUNK_S)
        paused_at = time.perf_counter()
        arrived = incoming.take(version)
        self._params = {n: jnp.asarray(x.view(jnp.bfloat16)) for n, x in arrived.weights.items()}
        jax.block_until_ready(self._params)
        pause_s = time.perf_counter() - paused_at
        return {"pause_s": pause_s, "mb": arrived.bytes / 1e6, "done_at": time.time()}

    def received(self) -> int:
        """Bytes that came to this host so far."""
        cards = Path("/proc/net/dev").read_text()
        return int(cards.partition("eth0:")[2].split()[0])

    def content(self) -> str:
        digest = xxhash.xxh3_128()
        for name in sorted(self._params):
            digest.update(np.asarray(self._params[name]).view(np.uint16).data)
        return digest.hexdigest()


def drive(hosts: int, mb: int, rounds: int) -> dict[str, Any]:
    """On the head of the cluster: the race. Raises RuntimeError when policies differ."""
    init("auto")
    nodes = {node["NodeManagerAddress"]: node["NodeID"] for node in ray.nodes()}
    addresses = sorted(nodes, key=lambda address: int(address.rpartition(".")[2]))
    connection = Connection(tuple(nodes[a] for a in addresses), tuple(addresses), local=False)
    learner = LearnerSlice(Holds, connection, range(1, 1 + hosts), (mb,), _ENV)
    learner.create_state()
    store = WeightStore(2, connection.nodes[0])
    samplers = [
        start_actor(Takes, connection, 1 + hosts + number, (number, store), _ENV)
        for number in range(hosts)
    ]
    ray.get([sampler.__ray_ready__.remote() for sampler in samplers])
    found: dict[str, list[dict[str, float]]] = {"ours": [], PEER: []}
    contents = set()
    for number, who in turns(list(found), 1 + rounds):
        _until_silent(samplers)
        account = _turn(learner, store, samplers, number, ours=who == "ours")
        say(f"{who}, turn {number}: {account}")
        contents |= set(ray.get([sampler.content.remote() for sampler in samplers]))
        if number:
            found[who].append(account)
    if len(contents) != 1:
        raise RuntimeError(f"{len(contents)} different policies have arrived")
    return {who: summarize(accounts) for who, accounts in found.items()}


def _until_silent(samplers: Sequence[Any]) -> None:
    """Until less than a megabyte comes in a second to all of them together."""

    def received() -> int:
        return sum(ray.get([sampler.received.remote() for sampler in samplers]))

    before = received()
    while True:
        time.sleep(1.0)
        now = received()
        if now - before < 10**6:
            return
        before = now


def _turn(
    learner: LearnerSlice, store: WeightStore, samplers: Sequence[Any], version: int, ours: bool
) -> dict[str, float]:
    began = time.time()
    boxed = []
    if ours:
        store.publish(version, learner.export(version))
    else:
        boxed = [host.gather.remote() for host in learner._hosts][:1]
        ray.wait(boxed, fetch_local=False)
    handed_s = time.time() - began
    took = ray.get([sampler.take.remote(version, boxed) for sampler in samplers])
    total_s = max(each["done_at"] for each in took) - began
    pause_s = max(each["pause_s"] for each in took)
    return {
        "total_s": total_s,
        "handed_s": handed_s,  # of that, until rollout hosts could begin to fetch
        "pause_s": pause_s,
        "pause_share": pause_s / total_s,
        "mb": took[0]["mb"],
        "mb_per_s_and_host": took[0]["mb"] / total_s,
    }


def race(args: argparse.Namespace) -> dict[str, Any]:
    """On hosts of its own, which it takes away again."""
    sizes = [f"--{name}={getattr(args, name)}" for name in ("hosts", "mb", "rounds")]
    command = [sys.executable, "-m", "benchmarks.weights", "--drive", *sizes]
    with (
        tempfile.TemporaryDirectory(prefix="sw-weights-", dir="/var/tmp") as folder,
        Hosts(1 + 2 * args.hosts, Path(folder) / "h") as hosts,
    ):
        start_nodes(hosts, _STORE_BYTES)
        for number in range(hosts.count):
            hosts.limit(number, args.nic)
        variables = {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "token"}
        driver = hosts.on(0, *command, environment=variables, stdout=subprocess.PIPE, text=True)
        out, _ = driver.communicate(timeout=_DRIVE_S)
    if driver.returncode:
        raise RuntimeError(f"the race ended with code {driver.returncode}")
    return last_json(out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=int, default=200, help="of a policy")
    parser.add_argument("--nic", type=int, default=25, help="MB per second of a network card")
    parser.add_argument("--hosts", type=int, default=3, help="of learners, and of rollouts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--drive", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.drive:
        print(json.dumps(drive(args.hosts, args.mb, args.rounds)))
        return 0
    if missing := what_is_missing():
        say(f"real hosts: {missing}")
        return 2
    with terminable():
        found = race(args)
    print(json.dumps(_result(found, args)))
    return 0


def _result(found: Mapping[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    ours, peer = found["ours"], found[PEER]
    return {
        "benchmark": "weights",
        "hosts": {"learner": args.hosts, "rollout": args.hosts, "nic_mb_per_s": args.nic},
        "ours": ours,
        "peers": {PEER: peer},
        "ratios": {
            PEER: ratio(ours, peer, "total_s", higher_is_better=False),
            "pause_share": ours["pause_share"]["median"],
        },
        "environment": environment(),
    }


if __name__ == "__main__":
    raise SystemExit(main())
