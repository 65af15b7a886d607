"""Every knob of a run, declared once and checked before anything starts.

A run is a tree of frozen sections. Defaults are those of a small CPU run; the shipped `*.toml`
files state what they change. Seconds end in `_s`; counts are plain nouns; "" means "not given".
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from configs.lora import LoraSection
from configs.section import Count, Section, Share
from configs.section_rollout import EvalSection, RolloutSection


class RunSection(Section):
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class DataSection(Section):
    train: str = "synthetic"
    """A .parquet or .jsonl file, or "synthetic": written into the run folder from `run.seed`."""
    heldout: str = "synthetic"
    synthetic_rows: Count = 8000
    synthetic_heldout_rows: Count = 400
    template: str = "<start_of_turn>user\n{prompt}<end_of_turn>\n<start_of_turn>model\n"
    """What the policy reads; `{prompt}` is replaced by the row's prompt. Or "chat": the chat
    template that belongs to the tokenizer."""
    system: str = ""
    """With "chat": the system message; said before the prompt where a template knows no system."""


class ModelSection(Section):
    preset: Literal["", "gemma2_2b", "gemma2_9b"] = ""
    """A published Gemma2 by name; with "" the sizes below are used."""
    architecture: dict[str, Any] = {}
    """What the `config.json` of a Hugging Face folder says; filled in from `weights`, and kept in
    the run's config.toml. Given without weights: a fresh network of that architecture."""
    layers: Count = 3
    embed_dim: Count = 128
    hidden_dim: Count = 384
    heads: Count = 4
    kv_heads: Count = 2
    head_dim: Count = 32
    sliding_window: Count = 4096
    weights: str = ""
    """A Hugging Face safetensors folder, or a run folder whose last checkpoint is the start."""
    tokenizer: str = ""
    """A SentencePiece .model file, a tokenizer.json, or a folder with either; with "" that of
    `weights`, or one that is trained on the training data."""
    tokenizer_pieces: Annotated[int, Field(ge=300)] = 420
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Activations and matrix products; master weights and optimizer moments are float32."""


class JudgeSection(Section):
    actors: Count = 1
    rubric: str = "paper"
    """What a completion is judged by: a rubric of `actors/rewards/rubrics`, or a .toml file."""
    max_abstain: Share = 0.2
    """Training waits for the judge while more of a step's completions than this have no verdict."""
    endpoint: str = ""
    """Who answers criteria with the scorer "llm": the URL of an OpenAI-compatible server, as in
    http://host:8000/v1 (its key is read from the environment variable SHOWWORK_JUDGE_KEY), or
    "local" for the model in the folder `judge.model`, read by each judge's own engine."""
    model: str = ""
    """The model by its name on that server; for "local" a run folder or one of Hugging Face."""
    head: str = ""
    """What criteria with the scorer "learned" are scored by: the file that `launch.py judge --fit`
    wrote ..."""
    reader: str = ""
    """... and the folder whose model it was fitted to: of a run, or of Hugging Face."""
    second_rubric: str = ""
    """A second judge by another rubric, for a sample: `judge/gold_gap` is by how much the first one
    rewards more. It only watches."""
    second_share: Share = 0.05
    """The share of groups that it sees."""
    canary_steps: Annotated[int, Field(ge=0)] = 50
    """Steps between two rounds of judging completions whose order is known; 0: never."""
    noise: Annotated[float, Field(ge=0)] = 0.0
    """Groups whose rewards differ by no more than this have no advantages: what the judge's own
    verdicts differ by when it is asked again (`judge/noise`, `launch.py judge --report`)."""
    deadline_s: Annotated[float, Field(gt=0)] = 30.0
    """For one answer of that server, retries included."""
    in_flight: Count = 32
    """Requests that one judge actor has under way."""
    requests_per_s: Annotated[float, Field(ge=0)] = 0.0
    """Most that one judge actor sends; 0: no limit."""


class LoopSection(Section):
    steps: Count = 450
    groups_per_step: Count = 16
    max_staleness: Annotated[int, Field(ge=0, le=16)] = 1
    """Optimizer steps between the policy that sampled a group and the one that trains on it."""
    order: Literal["exact", "arrival"] = "exact"
    """A step trains on its own prompts, bit for bit again in every run; or on what came first."""
    max_refills: Annotated[int, Field(ge=0)] = 0
    """Groups without spread give their place to the next prompts (DAPO's dynamic sampling), until
    as many as are trained have some, at most so many times `groups_per_step` a step; 0: never."""
    time_budget_s: Annotated[float, Field(gt=0)] = 32400.0
    """Wall time from the start of the command after which training stops, saves and evaluates."""
    wait_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """Longest silence of the rollout and judge pools before the run stops and says so."""
    silence_s: Annotated[float, Field(gt=0)] = 60.0
    """A process that does not answer for so long hangs, and is replaced."""
    max_losses: Annotated[int, Field(ge=0)] = 10
    """Processes that may die or hang, with nothing finished in between, before the run ends. The
    default leaves room for two neighbouring groups that kill their workers to be set aside."""


class GrpoSection(Section):
    """The objective; docs/objective.md says which settings are which paper's."""

    clip_low: Annotated[float, Field(gt=0, le=1)] = 0.2
    clip_high: Annotated[float, Field(gt=0)] = 0.2
    dual_clip: Annotated[float, Field(ge=0)] = 0.0
    """Bound on the loss of tokens with an advantage below 0, in advantages; 0: none."""
    ratio: Literal["token", "sequence"] = "token"
    """Policy to sampling policy, of each token, or their geometric mean over a completion."""
    surrogate: Literal["clip", "cispo"] = "clip"
    """Clipped as in PPO, or the clipped ratio as a constant weight on log-probabilities."""
    kl_coefficient: Annotated[float, Field(ge=0)] = 0.02
    kl_estimator: Literal["k1", "k2", "k3", "low_var"] = "k2"
    kl_in: Literal["loss", "reward"] = "loss"
    """In the loss, weighted by the ratio; or taken off each token's advantage, without gradient."""
    importance_cap: Annotated[float, Field(ge=0)] = 0.0
    """The most that a ratio weighs in the KL penalty; 0: unbounded."""
    baseline: Literal["mean", "leave_one_out"] = "mean"
    """What rewards are compared with: the mean of their group, or of the other siblings."""
    scale_by_std: bool = True
    """Divide advantages by the standard deviation of their group (GRPO); false: Dr.GRPO."""
    std_floor: Annotated[float, Field(ge=0)] = 0.0
    """The least that advantages are divided by: the noise of the judge."""
    loss_mean: Literal["token", "sequence", "constant"] = "token"
    """Mean over all trained tokens of the step, over sequences of their token means, or of sums
    divided by the longest length there may be."""
    overlong_tokens: Annotated[int, Field(ge=0)] = 0
    """Completions that come so near to their budget lose reward evenly, 1 at the end; 0: none."""
    widest_groups: Annotated[int, Field(ge=0)] = 0
    """Train only on this many groups of a step, those with the widest rewards; 0: on all."""
    shuffle_rewards: bool = False
    """Control experiment: permute rewards inside each group, so that nothing can be learned."""

    @model_validator(mode="after")
    def _objective_fits(self):
        if (self.kl_estimator, self.kl_in) == ("k1", "loss"):
            raise ValueError(
                "kl_estimator = k1 with kl_in = loss teaches nothing: the expected gradient of "
                "log policy - log reference over the policy's own samples is 0. Use k2, whose "
                "gradient is that of the KL divergence, or kl_in = reward"
            )
        if self.dual_clip and self.dual_clip <= 1:
            raise ValueError(f"dual_clip = {self.dual_clip:g} must be above 1, or 0 for none")
        return self


class LearnerSection(Section):
    hosts: Annotated[int, Field(ge=0)] = 0
    """Learner processes; 0: as placement.py plans them from --hosts."""
    learning_rate: Annotated[float, Field(gt=0)] = 7e-4
    final_learning_rate: Annotated[float, Field(ge=0)] = 7e-5
    warmup_steps: Annotated[int, Field(ge=0)] = 10
    adam_b1: Share = 0.9
    adam_b2: Share = 0.95
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    micro_batch_tokens: Count = 512
    """Tokens that a device reads at a time; gradients of these parts are accumulated."""
    sentinel_every: Annotated[int, Field(ge=0)] = 100
    """Steps between comparisons of the engine's log-probabilities with the learner's; 0: none."""
    sentinel_band: Annotated[float, Field(gt=0)] = 0.02
    """Mean difference, in nats a token, above which something is wrong: it is looked for."""
    sentinel_stops: bool = False
    """End the run then, instead of a warning."""
    max_skipped: Count = 3
    """Updates in a row that may be skipped because they are not finite, before the run ends."""
    logits_chunk: Count = 512
    """Tokens whose vocabulary logits exist at one time."""
    fsdp: int = 1
    """Devices that share one copy of the parameters; the rest of the mesh is data parallel."""
    tp: Count = 1
    remat: Literal["none", "block", "decoder"] = "none"
    threads: Count = 2

    @model_validator(mode="after")
    def _fsdp_known(self):
        if self.fsdp != -1 and self.fsdp < 1:
            raise ValueError(f"fsdp = {self.fsdp} must be at least 1, or -1 for all devices")
        return self


class SftSection(Section):
    steps: Annotated[int, Field(ge=0)] = 0
    """Cold-start steps before GRPO when the run starts without weights; 0: none."""
    batch_size: Count = 32
    learning_rate: Annotated[float, Field(gt=0)] = 0.02
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    optimizer: Literal["adamw", "muon"] = "muon"
    clean: Share = 0.27
    """Synthetic demonstrations: the share that is right and tagged ..."""
    slips: Share = 0.33
    """... that carries a systematic slip out neatly; the rest lacks the tags."""

    @model_validator(mode="after")
    def _shares_fit(self):
        if self.clean + self.slips > 1 + 1e-9:
            raise ValueError(f"clean + slips = {self.clean + self.slips:g} is above 1")
        return self


class CheckpointSection(Section):
    every_steps: Count = 100
    keep_last: Count = 2
    keep_best: Annotated[int, Field(ge=0)] = 1


class RunConfig(Section):
    run: RunSection = RunSection()
    data: DataSection = DataSection()
    model: ModelSection = ModelSection()
    rollout: RolloutSection = RolloutSection()
    judge: JudgeSection = JudgeSection()
    loop: LoopSection = LoopSection()
    grpo: GrpoSection = GrpoSection()
    learner: LearnerSection = LearnerSection()
    lora: LoraSection = LoraSection()
    sft: SftSection = SftSection()
    eval: EvalSection = EvalSection()
    checkpoint: CheckpointSection = CheckpointSection()

    @property
    def trained_groups(self) -> int:
        """Groups of a step that reach the update."""
        return self.grpo.widest_groups or self.loop.groups_per_step

    @property
    def mixes_policies(self) -> bool:
        """Whether several policies may have sampled the groups of a step."""
        loop = self.loop
        return loop.order == "arrival" or bool(loop.max_refills and loop.max_staleness)

    @model_validator(mode="after")
    def _order_fits(self):
        if self.rollout.new_weights == "in_flight" and self.loop.order == "exact":
            raise ValueError(
                "rollout.new_weights = in_flight mixes policies in a group, by the clock: the run "
                "is not the same run twice, which loop.order = exact promises. Use loop.order = "
                "arrival, or new_weights = drained"
            )
        return self

    @model_validator(mode="after")
    def _batch_splits(self):
        if self.grpo.widest_groups > self.loop.groups_per_step:
            raise ValueError(
                f"grpo.widest_groups = {self.grpo.widest_groups} is above "
                f"loop.groups_per_step = {self.loop.groups_per_step}"
            )
        if self.eval.samples > self.rollout.slots:
            raise ValueError(
                f"eval.samples = {self.eval.samples} does not fit into "
                f"rollout.slots = {self.rollout.slots}"
            )
        if self.lora.rank and self.sft.steps and self.sft.optimizer == "muon":
            raise ValueError("an adapter's factors are not for Muon: sft.optimizer = adamw")
        if self.grpo.overlong_tokens > self.rollout.max_new_tokens:
            raise ValueError(
                f"grpo.overlong_tokens = {self.grpo.overlong_tokens} is above the "
                f"{self.rollout.max_new_tokens} tokens of rollout.max_reasoning_tokens + "
                "rollout.max_answer_tokens"
            )
        if self.data.template != "chat" and "{prompt}" not in self.data.template:
            raise ValueError('data.template must contain {prompt}, or be "chat"')
        if self.data.system and self.data.template != "chat":
            raise ValueError('data.system needs data.template = "chat"; else write it there')
        return self
