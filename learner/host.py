"""One process of the learner and its shards of the training state. No Ray in here.

All processes run the same program: each method is called on every one of them, in the same order,
with the same arguments.
"""

import platform
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.multihost_utils import process_allgather

from cluster.messages import BASE
from configs.errors import InputError
from configs.schema import RunConfig
from learner import fingerprint
from learner.batch import Batch, Demonstrations
from learner.checkpoint import Checkpoints, restore_tree, save_tree
from learner.compiles import Compiles
from learner.epoch import ALONE, Epoch
from learner.initial import initial_params
from learner.ledger import Ledger
from learner.pack import pack, shape_of
from learner.pieces import Piece, hand_over, plan
from learner.policy.lora import Trained, over
from learner.policy.model import build_model
from learner.policy.sharding import PACKED_ROWS, ROWS, check_rows, make_mesh, place, row_parts
from learner.sentinel import Sentinel
from learner.step import (
    TrainState,
    abstract_state,
    fresh_state,
    grpo_optimizer,
    make_grpo_step,
    make_sft_step,
    placed_like,
    sft_optimizer,
)
from learner.unsound import Skipped


class LearnerHost:
    """Trains the policy: a cold start on demonstrations, then GRPO against a frozen reference.

    `checkpoints` is the run's checkpoint folder, seen by every host; `vocabulary` the ids of the
    tokenizer when the model starts from scratch.
    """

    def __init__(
        self,
        rank: int,
        world: int,
        config: RunConfig,
        checkpoints: Path,
        vocabulary: int,
        epoch: Epoch = ALONE,
    ):
        self.rank, self.world, self.config = rank, world, config
        self.folder, self.epoch = Path(checkpoints), epoch
        self.model = build_model(config.model, vocabulary, config.learner.remat)
        self.trained = Trained(self.model, config.lora)
        self.state: TrainState  # from create_state on
        # what an adapter lies over, and from begin_grpo on the frozen reference policy
        self.reference: dict[str, jax.Array] = {}
        self.version = 0  # of the policy: GRPO steps done
        # policies as the rollout actors get them, by version: those that permits may still name
        self._policies: dict[int, dict[str, jax.Array]] = {}
        self._checkpoints: dict[str, Checkpoints] = {}
        self._skipped = Skipped(self.folder.parent / "skipped", config.learner.max_skipped)
        self._compiles, self._sentinel = Compiles(), Sentinel(self.model, config)
        self._damaged: list[str] = []  # checkpoints, as they were found

    def coordinator_address(self, ip: str) -> str:
        """`ip` with a free port of this host: where the processes of the slice meet."""
        with socket.socket() as probe:
            probe.bind((ip, 0))
            return f"{ip}:{probe.getsockname()[1]}"

    def join(self, coordinator: str) -> None:
        """Become one process of the slice. Must come before anything else touches a device."""
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(coordinator, self.world, self.rank, heartbeat_timeout_seconds=30)

    def create_state(self, at: int | None = None) -> dict[str, Any]:
        """Place the newest state of the run, or a fresh one. `at`: that of a GRPO step instead.

        Returns {"phase": "sft" or "grpo", "step", "ledger" ({} at first), "devices", "platform",
        "parameters", "trained" (their numbers), "pieces": how many each process hands over of a
        version, and of BASE, "damaged": checkpoints that were set aside, in words, "learner": what
        the bits of a step depend on, in words}.
        Raises InputError for a mesh that does not fit or a checkpoint that cannot be read.
        """
        learner = self.config.learner
        self.mesh = make_mesh(learner)
        check_rows(self.config, self.mesh)
        self._packed_shape = shape_of(self.config, self.model, row_parts(self.mesh))
        dtype = self.config.model.compute_dtype
        self._cast = jax.jit(lambda params: jax.tree.map(lambda x: jnp.array(x, dtype), params))
        self._checksum = jax.jit(fingerprint.lanes)
        sft = sft_optimizer(self.config.sft)
        grpo = grpo_optimizer(learner, self.config.loop.steps)
        self._optimizers = {"sft": sft, "grpo": grpo}
        self._sft_step = make_sft_step(self.model, self.config, sft, self.mesh)
        self._grpo_step = make_grpo_step(self.model, self.config, grpo, self.mesh)
        self._pieces = {0: self._planned(self._abstract("grpo").params)}
        if self.config.lora.rank:
            self._pieces[BASE] = self._planned(self._abstract_whole())
        phase, step, ledger = self._restore(at) or self._begin()
        self.epoch.begin(phase, step, self.rank)
        return {
            "phase": phase,
            "step": step,
            "ledger": ledger,
            "devices": jax.device_count(),
            "platform": jax.default_backend(),
            "parameters": sum(x.size for x in self.model.abstract_params().values()),
            "trained": sum(x.size for x in self.state.params.values()),
            "pieces": {kind: [*map(len, pieces)] for kind, pieces in self._pieces.items()},
            "damaged": self._damaged,
            "learner": (
                f"{self.world} process(es), {jax.device_count()} {jax.devices()[0].device_kind} "
                f"device(s), {learner.threads} thread(s), {platform.machine()}"
            ),
        }

    def sft_steps(self, batches: Sequence[Demonstrations]) -> list[float]:
        """Cold-start steps; returns their losses (nats per token)."""
        losses = []
        for batch in batches:
            rows = place(batch, self.mesh, ROWS)
            self.state, metrics = self._sft_step(self.state, self.reference, rows)
            losses.append(metrics["loss"])
        return [float(loss) for loss in jax.device_get(losses)]

    def begin_grpo(self) -> None:
        """Freeze the present policy as the reference, and start with fresh optimizer moments, and
        a fresh adapter over it."""
        placed = jax.tree.map(lambda x: x.sharding, self._abstract_whole())
        whole = jax.jit(self.trained.whole, out_shardings=placed)
        self.reference = whole(self.reference, self.state.params)
        del self.state
        save_tree(self.folder / "reference", self.reference)
        self.state = self._fresh_state("grpo")
        self.version, self._policies = 0, {}

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One optimizer step on the global batch; one that is not finite leaves the state as it is.

        Returns its metrics, as "fingerprint" the checksum of the new parameters, as "skipped" 0 or
        1, as "compiled" the programs that were compiled for it: those of the first step, and none
        later. Raises RunError after `learner.max_skipped` such steps in a row, and InputError when
        a checkpoint that is being written cannot be stored.
        """
        for checkpoints in self._checkpoints.values():
            checkpoints.check()
        self._compiles.taken()
        self._policy(self.version)  # the step takes the memory of the parameters
        rows = place(pack(batch, self._packed_shape), self.mesh, PACKED_ROWS)
        sampled_by = max(0, self.version - self.config.loop.max_staleness)
        below, lora = self.reference, self.config.lora
        policies = {v: over(below, policy, lora) for v, policy in self._policies.items()}
        compared = self._sentinel.check(self.version + 1, sampled_by, policies, rows)
        self.state, metrics = self._grpo_step(self.state, self.reference, rows)
        self.version += 1
        oldest = self.version - self.config.loop.max_staleness
        self._policies = {v: policy for v, policy in self._policies.items() if v >= oldest}
        metrics, lanes = jax.device_get((metrics, self._checksum(self.state.params)))
        names, sound = sorted(self.state.params), metrics.pop("sound")
        skipped = self._skipped.step(self.version, batch, names, sound, dumps=self.rank == 0)
        values = compared | {name: float(value) for name, value in metrics.items()}
        values |= {"fingerprint": fingerprint.number(lanes), "skipped": float(skipped)}
        return values | {"compiled": float(self._compiles.taken())}

    def export(self, version: int) -> list[Any]:
        """What this process hands over of a version of what is trained: an `Offer`, its pieces.

        The present one, or one of the `max_staleness` before it; BASE: what an adapter lies over.
        All in compute dtype.
        """
        pieces = self._pieces[BASE if version == BASE else 0][self.rank]
        offer, parts = hand_over(self._policy(version), self.rank, pieces)
        return [offer, *parts]

    def parameters_sha256(self) -> str:
        """Of the float32 parameters that are trained, by name."""
        return fingerprint.sha256(process_allgather(self.state.params, tiled=True))

    def save(
        self, phase: str, step: int, ledger: dict, metrics: dict[str, float], wait: bool
    ) -> list[str]:
        """Checkpoint the state with the ledger; `wait`: until it is on disk and was read back.

        Returns what was wrong with earlier ones that were read back since, in words.

        With it go the earlier policies that outstanding permits name: asked again after a resume,
        they are sampled with the very weights they were meant for.
        """
        checkpoints = self._of(phase)
        trees: dict[str, Any] = {"state": self.state}
        if phase == "grpo" and (earlier := self._earlier(step)):
            trees["policies"] = [self._policy(version) for version in earlier]
        record = {"ledger": ledger, "checksum": fingerprint.of_trees(trees), "metrics": metrics}
        return checkpoints.save(step, trees, record, metrics, wait)

    def close(self) -> None:
        for checkpoints in self._checkpoints.values():
            checkpoints.close()

    def _restore(self, at: int | None) -> tuple[str, int, dict] | None:
        if (self.folder / "reference").exists():
            self.reference = restore_tree(self.folder / "reference", self._abstract_whole())
            step = self._of("grpo").latest_step() if at is None else at
            if not step:  # stopped between the cold start and the first checkpoint
                self.state = self._fresh_state("grpo")
                return "grpo", 0, {}
            read = self._newest("grpo", step) if at is None else (at, self._load("grpo", at))
            self.version, ledger = read
            return "grpo", self.version, ledger
        step = self._of("sft").latest_step()
        if step is None:
            return None
        if self.config.lora.rank:
            self.reference = initial_params(self.model, self.config, self._abstract_whole())
        return "sft", *self._newest("sft", step)

    def _newest(self, phase: str, step: int) -> tuple[int, dict]:
        checkpoints = self._of(phase)
        step, ledger, damaged = checkpoints.load_sound(step, lambda step: self._load(phase, step))
        self._damaged += damaged
        return step, ledger

    def _load(self, phase: str, step: int) -> dict:
        """Place a checkpoint; returns its ledger."""
        abstract = self._abstract(phase)
        trees: dict[str, Any] = {"state": abstract}
        if phase == "grpo" and (earlier := self._earlier(step)):
            policy = jax.eval_shape(self._cast, abstract.params)
            trees["policies"] = [placed_like(policy, abstract.params)] * len(earlier)
        restored, record = self._of(phase).restore(step, trees)
        if fingerprint.of_trees(restored) != record["checksum"]:
            raise InputError(
                f"checkpoint {self.folder / phase / str(step)} is damaged: its arrays do not have "
                "the checksum they were written with. Move that folder away to go on from an "
                "earlier checkpoint, or give another folder with --run"
            )
        self.state = restored["state"]
        self._policies = dict(zip(self._earlier(step), restored.get("policies", ()), strict=False))
        return record["ledger"]

    def _earlier(self, step: int) -> range:
        """Versions before that of a step which permits outstanding at its end may name."""
        return Ledger(step=step).versions(self.config)[:-1]

    def _policy(self, version: int) -> dict[str, jax.Array]:
        if version == BASE:
            return self._cast(self.reference)
        if version == self.version and version not in self._policies:
            self._policies[version] = self._cast(self.state.params)
        return self._policies[version]

    def _begin(self) -> tuple[str, int, dict]:
        self.reference = initial_params(self.model, self.config, self._abstract_whole())
        self.state = self._fresh_state("sft")
        if not self.config.lora.rank:
            self.reference = {}
        return "sft", 0, {}

    def _fresh_state(self, phase: str) -> TrainState:
        """The start of training over `self.reference`."""
        seed = self.config.run.seed
        return fresh_state(self.trained, self._optimizers[phase], self.mesh, self.reference, seed)

    def _abstract(self, phase: str) -> TrainState:
        return abstract_state(self.trained, self._optimizers[phase], self.mesh)

    def _abstract_whole(self) -> dict[str, Any]:
        """The model's own parameters, placed."""
        return abstract_state(self.model, self._optimizers["grpo"], self.mesh).params

    def _of(self, phase: str) -> Checkpoints:
        if phase not in self._checkpoints:
            section = self.config.checkpoint
            keep_best = section.keep_best if phase == "grpo" else 0
            self._checkpoints[phase] = Checkpoints(
                self.folder / phase, section.keep_last, keep_best, self.epoch
            )
        return self._checkpoints[phase]

    def _planned(self, abstract: dict[str, Any]) -> list[list[Piece]]:
        """What each process hands over of arrays that are shaped and placed so."""
        found = plan(abstract, jnp.dtype(self.config.model.compute_dtype).itemsize)
        return found + [[]] * (self.world - len(found))
