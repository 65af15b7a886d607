"""Do the rollout engine and the update mean the same by a log-probability?

The log-probabilities of sampled tokens come from the engine and are never recomputed for the
update, whose ratio to them is only right if both compute the same function. So at the first step of
a process and every `learner.sentinel_every` steps they are scored again here, with the very weights
that sampled them, and compared. Where they differ by more than the band, what the learner can do
otherwise is tried: what brings them together is the cause.
"""

import logging
from collections.abc import Callable
from functools import cache, partial

import jax
import jax.numpy as jnp

from configs.errors import RunError
from configs.schema import RunConfig
from learner.pack import Packed
from learner.policy.logprobs import packed_logprobs
from learner.policy.model import Params, PolicyModel, build_model

logger = logging.getLogger(__name__)


@cache
def make_comparison(model: PolicyModel, temperature: float, chunk: int, capped=True) -> Callable:
    """(params, Packed) -> {name: scalar} of trainer minus sampler over the scored tokens.

    "mismatch_mean", "mismatch_max": absolute difference, nats. "mismatch_k3": the k3 estimate of
    KL(sampler || trainer), nats. "effective_sample_size": (sum w)^2 / (n sum w^2) of the weights
    w = trainer / sampler, 1 where they agree. Without `capped`, scores have no final soft-cap.
    """

    def sums(params: Params, rows: Packed):
        logprobs_RL, _ = packed_logprobs(model, params, rows, temperature, chunk, capped)
        seen_RL = rows.weights > 0
        gap_RL = jnp.where(seen_RL, logprobs_RL - rows.sampled_logprobs, 0.0)
        weight_RL = jnp.where(seen_RL, jnp.exp(jnp.clip(gap_RL, -20.0, 20.0)), 0.0)
        k3_RL = jnp.where(seen_RL, weight_RL - 1.0 - gap_RL, 0.0)
        values = (seen_RL, jnp.abs(gap_RL), k3_RL, weight_RL, weight_RL**2)
        return jnp.stack([jnp.sum(x, dtype=jnp.float32) for x in values]), jnp.abs(gap_RL).max()

    def compare(params: Params, batch: Packed) -> dict[str, jax.Array]:
        def add(number, before):
            total, highest = sums(params, batch.micro_batch(number))
            return before[0] + total, jnp.maximum(before[1], highest)

        start = (jnp.zeros(5, jnp.float32), jnp.float32(0))
        total, highest = jax.lax.fori_loop(0, batch.count, add, start)
        count, gap, k3, weight, squared = total
        count = count.clip(1)
        return {
            "mismatch_mean": gap / count,
            "mismatch_max": highest,
            "mismatch_k3": k3 / count,
            "effective_sample_size": weight**2 / (count * squared).clip(1e-9),
        }

    return jax.jit(compare)


class Sentinel:
    """Compares when it is due; says what is wrong, and ends the run if it is told to."""

    def __init__(self, model: PolicyModel, config: RunConfig):
        self._model, self._config = model, config
        self._begun = False

    def check(
        self, step: int, version: int, policies: dict[int, Params], batch: Packed
    ) -> dict[str, float]:
        """The comparison if one is due at `step`, else {}; none where several policies sampled.

        `version`: of the policy that sampled; `policies`: those that are here, by version.
        Raises RunError outside the band with `learner.sentinel_stops`.
        """
        learner = self._config.learner
        every = learner.sentinel_every
        if self._config.mixes_policies and step > 1:  # the first one has version 0 alone
            return {}
        if not every or (self._begun and step % every):
            return {}
        self._begun = True
        found = self._compare(policies[version], batch)
        if found["mismatch_mean"] > learner.sentinel_band:
            cause = self._cause(version, policies, batch, found["mismatch_mean"])
            mean, most = found["mismatch_mean"], found["mismatch_max"]
            message = (
                f"step {step}: the rollout engine's log-probabilities are off those of the learner "
                f"by {mean:.3g} nats a token, {most:.3g} at most "
                f"(learner.sentinel_band = {learner.sentinel_band:g}). {cause}"
            )
            if learner.sentinel_stops:
                raise RunError(message)
            logger.warning(message)
        return found

    def _compare(
        self,
        params: Params,
        batch: Packed,
        model: PolicyModel | None = None,
        temperature: float | None = None,
        capped: bool = True,
    ) -> dict[str, float]:
        compare = make_comparison(
            model or self._model,
            temperature or self._config.rollout.temperature,
            self._config.learner.logits_chunk,
            capped,
        )
        return {name: float(value) for name, value in compare(params, batch).items()}

    def _cause(self, version: int, policies: dict[int, Params], batch: Packed, mean: float) -> str:
        """What closes at least nine tenths of the gap."""
        section, learner = self._config.model, self._config.learner
        compare = partial(self._compare, policies[version], batch)
        trials = {
            f"the weights of version {other} instead of {version}": partial(
                self._compare, params, batch
            )
            for other, params in policies.items()
            if other != version
        }
        if self._config.rollout.temperature != 1.0:
            trials["temperature 1"] = partial(compare, temperature=1.0)
        trials["no final soft-cap"] = partial(compare, capped=False)
        for dtype in {"float32", "bfloat16"} - {section.compute_dtype}:
            other = build_model(
                section.model_copy(update={"compute_dtype": dtype}),
                self._model.architecture.vocabulary,
                learner.remat,
            )
            trials[dtype] = partial(compare, model=other)
        for what, trial in trials.items():
            if trial()["mismatch_mean"] < 0.1 * mean:
                return f"They agree with {what}: that is what the engine computes."
        return (
            f"None of these brings them together: {', '.join(trials)}. "
            "What is left is the engine's cache, its positions, or other weights than published."
        )
