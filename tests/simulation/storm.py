"""The real loop, ledger, history, queues and collector on a virtual clock, in a world that breaks.

Actors, network, disk and learner are simulated; a seed decides delays, deaths, hangs, duplicates,
reorderings, partitions, outages of the judge, torn checkpoints, lost tails of the ledger, a full
disk, signals and crashes at any call; some prompts kill whoever takes them, and must be set aside.
After each sitting the run is started again, as a user would. It must end, with the parameters of
the run that nothing disturbed, and every prompt used once. The "parameters" are a hash of all that
was ever trained on: one group too many, too few, of another version or in another order changes
them.
"""

import inspect
import io
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from configs.errors import RunError
from configs.schema import RunConfig
from learner import loop
from learner.books import Books, check_ledger, read_ledger
from learner.collect import Collector
from learner.order import order_of
from tests.learner.conftest import make_config
from tests.simulation.parts import QUESTIONS, Pools, SimHistory, SimLearner
from tests.simulation.world import Broken, Crash, Disk, Poison, World, draw_faults

STORMY = 7  # sittings with faults, at most
PEACEFUL = 5  # afterwards: some more than one, since some prompts kill the learner
ARRIVAL = {*range(12, 18), 23}  # configurations in the order of arrival; the others are exact
REFILLED, CONFIGURATIONS = 18, 24  # from the first on groups without spread give up their place
POISON = {  # by configuration
    2: Poison(learner={4}),
    3: Poison(learner={3}, judge={4}),
    4: Poison(rollout={3}),
    8: Poison(judge={3, 4}),
    11: Poison(rollout={4}, judge={9}),
    13: Poison(rollout={5}, judge={8}),
    14: Poison(learner={6}),
    20: Poison(rollout={4}, judge={9}),
    21: Poison(learner={5}),
}
BUGS = {  # name: what the loop says, and what it says with the bug
    "an ack before the step": (
        "            report = _step(config, parts, ledger)\n",
        "            taken, per_step = ledger, config.loop.groups_per_step\n"
        "            ledger = replace(ledger, consumed=ledger.consumed + per_step)\n"
        "            report = _step(config, parts, taken)\n",
    ),
    "a permit not given back": (
        "    _ask(parts, ledger, ledger.outstanding)  # of a run that was cut off\n",
        "",
    ),
    "lost work not asked for again": (
        "            _ask_again(parts, ledger, lost, taken)\n",
        "            pass\n",
    ),
    "a refill that the ledger does not know": (
        "            ledger, places = ledger.refill(wanted)\n",
        "            _, places = ledger.refill(wanted)\n",
    ),
    "refills that are not taken with the rest": (
        "            taken += parts.order.take(ledger, parts.collector, wanted, taken)\n",
        "            taken = parts.order.take(ledger, parts.collector, wanted, taken)\n",
    ),
    "a ledger written after the checkpoint": (
        "    parts.history.sync()\n"
        '    torn = parts.learner.save("grpo", ledger.step, ledger.to_dict(), reward, wait=wait)\n',
        '    torn = parts.learner.save("grpo", ledger.step, ledger.to_dict(), reward, wait=wait)\n'
        "    parts.history.sync()\n",
    ),
}


@dataclass(frozen=True)
class Failure:
    """What a seed broke, in a line, and all that happened before."""

    line: str
    trace: list[str]


@dataclass
class Storm:
    """What a range of seeds showed."""

    broken: dict[int, Failure] = field(default_factory=dict)
    sittings: int = 0
    faults: Counter[str] = field(default_factory=Counter)  # by kind, sittings that had it


def storm(seeds: range) -> Storm:
    result = Storm()
    with _quiet(), tempfile.TemporaryDirectory(dir=_memory()) as folder:
        for seed in seeds:
            trace: list[str] = []
            try:
                simulate(seed, Path(folder) / str(seed), trace)
            except (Broken, LookupError) as error:
                result.broken[seed] = Failure(f"{type(error).__name__}: {error}", trace)
            shutil.rmtree(Path(folder) / str(seed), ignore_errors=True)
            kinds = [line.split()[1] for line in trace if line.startswith("--")]
            result.sittings += len(kinds)
            result.faults.update(kind.replace("_", " ") for kind in kinds)
    return result


def simulate(seed: int, folder: Path, trace: list[str]) -> None:
    """A whole run under the faults of a seed; what happens goes to `trace`. Raises Broken."""
    number = seed % CONFIGURATIONS
    params = run(np.random.default_rng(seed), folder, number, trace, STORMY)
    if number not in ARRIVAL and params != undisturbed(number):
        raise Broken("other parameters than those of the undisturbed run")


@cache
def undisturbed(number: int) -> bytes:
    """The parameters of a configuration's run without faults."""
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        return run(np.random.default_rng(0), Path(folder) / "calm", number, [], stormy=0)


@cache
def configuration(number: int) -> RunConfig:
    return make_config(
        loop={
            "steps": 7,
            "groups_per_step": 2 + number % 2,
            "max_staleness": number % 3,
            "wait_timeout_s": 200.0,
            "order": "arrival" if number in ARRIVAL else "exact",
            "max_refills": 1 + number % 2 if number >= REFILLED else 0,
        },
        rollout={"group_size": 2},
        judge={"max_abstain": 0.0},
        grpo={"widest_groups": number // 4 % 3 if number < REFILLED else 0},
        checkpoint={"every_steps": 1 + number % 4},
    )


def run(rng, folder: Path, number: int, trace: list[str], stormy: int) -> bytes:
    """A run to its end, in which every prompt is used once; its parameters."""
    folder.mkdir(parents=True)
    config, poison, disk = configuration(number), POISON.get(number, Poison()), Disk(folder)
    for start in range(stormy + PEACEFUL):
        faults = draw_faults(rng, peace=start >= stormy)
        trace.append(f"-- {faults.kind.replace(' ', '_')} {faults}")
        if sitting(disk, config, poison, World(rng, faults, trace)):
            check_prompts(disk, config, poison)
            return disk.checkpoints[config.loop.steps]["params"]
    raise Broken("the run does not come to its end, though nothing disturbs it any more")


def sitting(disk: Disk, config: RunConfig, poison: Poison, world: World) -> bool:
    """One start of the run; True when it came to the end of its steps."""
    pools = Pools(world, config, poison)
    learner = SimLearner(world, disk, config, poison, pools)
    history = SimHistory(disk.folder / "ledger.sqlite", learner.ledger, "simulated")
    history.world = world
    collector = Collector(
        pools,
        pools.check,
        config.loop.wait_timeout_s,
        ask_judges=pools.ask_judges,
        max_abstain=config.judge.max_abstain,
        clock=world,
    )
    parts = loop.Parts(
        learner,
        pools,
        collector,
        order_of(config),
        history,
        pools.permits_of,
        pools.ask,
        pools.check_stop,
        lambda _: None,
        lambda: None,
    )
    try:
        ledger, _ = loop.train(config, parts, learner.ledger)
        if collector.early > (config.loop.max_staleness + 1) * config.loop.groups_per_step:
            raise Broken(f"the collector holds {collector.early} groups")
        return ledger.step == config.loop.steps
    except TimeoutError as error:  # no cut or outage lasts that long
        raise Broken(f"it waits for what nobody does: {error}") from error
    except (RunError, RuntimeError, OSError) as error:
        world.note(f"ended: {error}")
        return False
    except Crash:
        world.note("crash")
        disk.crash(world.rng, learner.pending, world.faults.kind == "power cut")
        return False
    finally:
        with suppress(Exception):
            history.close()


def check_prompts(disk: Disk, config: RunConfig, poison: Poison) -> None:
    """What the audit says of the ledger, and what the checkpoint counts."""
    end = config.loop.steps
    books = Books(end, *read_ledger(disk.folder / "ledger.sqlite", end))
    ledger = disk.checkpoints[end]["ledger"]
    places = range(ledger["consumed"])
    check_ledger(books, config, places, lambda place: QUESTIONS[place % len(QUESTIONS)])
    if books.findings:
        raise Broken(str(books.findings))
    aside = {n: p["reason"] for n, p in books.permits.items() if "set aside" in (p["reason"] or "")}
    alone = {place for place, reason in aside.items() if "nothing else to do" in reason}
    if alone != poison.rollout | poison.judge or not poison.learner <= set(aside):
        raise Broken(f"set aside: {aside}")
    if len(set(aside) - alone) > len(poison.learner) * config.trained_groups:
        raise Broken(f"set aside with the learner: {aside}")
    used = Counter(permit["state"] for permit in books.permits.values())
    if (used["trained"], used["dropped"]) != (ledger["trained"], ledger["dropped"]):
        raise Broken(f"ledger {dict(used)}, checkpoint {ledger}")


@contextmanager
def planted(bug: str | None) -> Iterator[None]:
    """The loop with a bug in its source, as long as this lasts."""
    if bug is None:
        yield
        return
    right, wrong = BUGS[bug]
    source = inspect.getsource(loop)
    if source.count(right) != 1:
        raise ValueError(f"{bug!r}: the loop does not say {right!r} once: say it as it does now")
    whole = dict(vars(loop))
    code = source.replace(right, wrong)
    code = code.replace("import dataclass\n", "import dataclass, replace\n")
    namespace = dict(whole)
    exec(compile(code, "loop with a bug", "exec"), namespace)  # noqa: S102
    try:
        for name in ("train", "_save", "_step", "_ask"):
            setattr(loop, name, namespace[name])
        namespace["Stop"] = loop.Stop
        yield
    finally:
        for name in ("train", "_save", "_step", "_ask"):
            setattr(loop, name, whole[name])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings: what they warn of is checked."""
    logger = logging.getLogger("learner.collect")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _memory() -> str | None:
    """A folder in memory, where there is one: a sync to a disk takes milliseconds."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
