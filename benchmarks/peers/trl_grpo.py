"""Peer: TRL's `GRPOTrainer` with transformers' generation, in an environment of its own.

Run by `benchmarks/grpo.py`, which makes that environment. Nothing is downloaded: model and
tokenizer are built here. Gradient checkpointing, on by default in TRL, is off: it is faster.
"""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import json
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch  # pyrefly: ignore
import transformers
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, normalizers, processors
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from trl import GRPOConfig, GRPOTrainer  # pyrefly: ignore

from benchmarks.peers.work import (
    BOS,
    EOS,
    PAD,
    UNK,
    WORK,
    Step,
    account,
    check_ids,
    peer_arguments,
    read_prompts,
    reserve_stdout,
    reward,
)


def merges(scores: dict[str, float]) -> list[tuple[str, str]]:
    """The merge list that the pieces of a SentencePiece BPE model imply, best piece first."""
    found = []
    for piece, score in scores.items():
        splits = [(piece[:i], piece[i:]) for i in range(1, len(piece))]
        known = [(a, b) for a, b in splits if a in scores and b in scores]
        known.sort(key=lambda pair: (-scores[pair[0]], -scores[pair[1]]))
        found += [(-score, pair) for pair in known]
    found.sort(key=lambda entry: entry[0])
    return [pair for _, pair in found]


def build_tokenizer(inputs: Path) -> PreTrainedTokenizerFast:
    """The race's SentencePiece model as a Hugging Face tokenizer that writes <bos> first."""
    pieces = json.loads((inputs / "pieces.json").read_text())
    ids = {piece: i for i, (piece, _) in enumerate(pieces)}
    # Pieces that score 0 after the first ones are controls, bytes and symbols: never merged.
    learned = {piece: score for piece, score in pieces if not piece.startswith("<")}
    unk = pieces[UNK][0]
    core = Tokenizer(
        models.BPE(vocab=ids, merges=merges(learned), unk_token=unk, byte_fallback=True)
    )
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    bos = pieces[BOS][0]
    core.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, BOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=pieces[PAD][0],
        eos_token=pieces[EOS][0],
        bos_token=bos,
        unk_token=unk,
        padding_side="left",
    )


def save_model(folder: Path, stop_ids: list[int]) -> None:
    """TRL loads the policy and its reference from `folder`."""
    config = Gemma2Config(
        vocab_size=WORK.vocabulary,
        hidden_size=WORK.embed_dim,
        intermediate_size=WORK.hidden_dim,
        num_hidden_layers=WORK.layers,
        num_attention_heads=WORK.heads,
        num_key_value_heads=WORK.kv_heads,
        head_dim=WORK.head_dim,
        query_pre_attn_scalar=WORK.head_dim,
        sliding_window=WORK.sliding_window,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        attn_logit_softcapping=50.0,
        final_logit_softcapping=30.0,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=stop_ids or [EOS],
    )
    Gemma2ForCausalLM(config).save_pretrained(folder)


def trainer_config(folder: Path, steps: int, lengths: str, seed: int) -> GRPOConfig:
    return GRPOConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=WORK.samples,
        gradient_accumulation_steps=1,
        num_generations=WORK.siblings,
        num_iterations=1,
        max_completion_length=WORK.max_new_tokens,
        temperature=WORK.temperature,
        top_k=0,
        # <eos> can't be drawn before this many tokens.
        generation_kwargs={"min_new_tokens": WORK.max_new_tokens} if lengths == "even" else None,
        learning_rate=WORK.learning_rate,
        lr_scheduler_type="constant",
        optim="adamw_torch",
        adam_beta1=WORK.adam_b1,
        adam_beta2=WORK.adam_b2,
        max_grad_norm=WORK.max_grad_norm,
        beta=WORK.kl_coefficient,
        epsilon=WORK.clip,
        loss_type="grpo",
        max_steps=steps,
        shuffle_dataset=False,
        seed=seed,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        # Gemma2's soft-cap has no fused attention on a CPU.
        model_init_kwargs={"dtype": "float32", "attn_implementation": "eager"},
    )


class TimedTrainer(GRPOTrainer):
    """`GRPOTrainer` that notes what its parts take; a finished step opens the next one."""

    steps: list[Step]

    def _generate_single_turn(self, *args, **kwargs):
        start = time.perf_counter()
        output = super()._generate_single_turn(*args, **kwargs)
        self.steps[-1].generate_s = time.perf_counter() - start
        self.steps[-1].lengths = [len(ids) for ids in output[0]]
        return output

    def _generate_and_score_completions(self, *args, **kwargs):
        start = time.perf_counter()
        output = super()._generate_and_score_completions(*args, **kwargs)
        # The reference's forward pass, and the rewards, which take next to nothing.
        self.steps[-1].reference_s = time.perf_counter() - start - self.steps[-1].generate_s
        return output


class StepClock(TrainerCallback):
    """Closes a step where the optimizer has run; the update is what the other parts leave."""

    def __init__(self, steps: list[Step]):
        self.steps = steps

    def on_train_begin(self, *_, **__):
        self.began = time.perf_counter()

    def on_step_end(self, *_, **__):
        now = time.perf_counter()
        step = self.steps[-1]
        step.wall_s = now - self.began
        step.update_s = step.wall_s - step.generate_s - step.reference_s
        self.began = now
        self.steps.append(Step())


def main() -> None:
    args = peer_arguments(__doc__)
    print_account = reserve_stdout()
    transformers.logging.set_verbosity_error()
    torch.manual_seed(args.seed)
    prompts = read_prompts(args.inputs)
    tokenizer = build_tokenizer(args.inputs)
    check_ids(prompts, [tokenizer(row["prompt"])["input_ids"] for row in prompts])
    steps = [Step()]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save_model(folder / "model", WORK.stop_ids(args.lengths))
        trainer = TimedTrainer(
            model=str(folder / "model"),
            reward_funcs=reward,
            args=trainer_config(folder / "out", args.steps, args.lengths, args.seed),
            train_dataset=Dataset.from_list([{"prompt": row["prompt"]} for row in prompts]),
            processing_class=tokenizer,
            callbacks=[StepClock(steps)],
        )
        trainer.steps = steps
        trainer.train()
    print_account(
        account(
            steps[: args.steps],
            args.warmup,
            parameters=sum(p.numel() for p in trainer.model.parameters()),
            versions={p: version(p) for p in ("trl", "transformers", "torch")},
            compile_s=0.0,
            threads=torch.get_num_threads(),
        )
    )


if __name__ == "__main__":
    main()
