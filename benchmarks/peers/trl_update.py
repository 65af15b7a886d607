"""Peer: the update of TRL's `GRPOTrainer` on given completions: reference, loss, optimizer.

Run by `benchmarks/learner.py` in TRL's own environment. Only sampling is left out: the trainer is
handed prompt and completion ids, and what it makes of them is unchanged.
"""

import tempfile
import time
from pathlib import Path

from benchmarks.peers import trl_grpo  # isort: skip  (sets what torch and TRL read on import)

import torch  # pyrefly: ignore
import transformers
from datasets import Dataset

from benchmarks.peers.given import Given, given, update_arguments
from benchmarks.peers.work import WORK, Step, reserve_stdout, update_account


class GivenTrainer(trl_grpo.TimedTrainer):
    """A trainer that samples nothing."""

    batch: Given

    def _tokenize_prompts(self, prompts):
        numbers = [int(text) for text in prompts]
        return [self.batch.prompts[number] for number in numbers], None, {}

    def _generate_single_turn(self, *_, **__):
        return self.batch.completions, None


class CpuClock(transformers.TrainerCallback):
    """Processor seconds up to the end of each step."""

    def __init__(self):
        self.seconds: list[float] = []

    def on_step_end(self, *_, **__):
        self.seconds.append(time.process_time())


def main() -> None:
    args = update_arguments(__doc__)
    print_account = reserve_stdout()
    transformers.logging.set_verbosity_error()
    torch.manual_seed(args.seed)
    batch = given(args.lengths, args.seed)
    steps, cpu = [Step()], CpuClock()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        trl_grpo.save_model(folder / "model", [])
        trainer = GivenTrainer(
            model=str(folder / "model"),
            reward_funcs=lambda **_: batch.rewards.tolist(),
            args=trl_grpo.trainer_config(folder / "out", args.steps, "even", args.seed),
            train_dataset=Dataset.from_list(
                [{"prompt": str(n % WORK.prompts)} for n in range(args.steps * WORK.prompts)]
            ),
            processing_class=trl_grpo.build_tokenizer(args.inputs),
            callbacks=[trl_grpo.StepClock(steps), cpu],
        )
        trainer.steps, trainer.batch = steps, batch
        trainer.train()
    print_account(
        update_account(
            [step.reference_s + step.update_s for step in steps[: args.steps]],
            cpu.seconds,
            args.warmup,
            tokens=batch.tokens,
            parameters=sum(p.numel() for p in trainer.model.parameters()),
        )
    )


if __name__ == "__main__":
    main()
