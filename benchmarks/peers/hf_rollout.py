"""Peer: Hugging Face `generate` with all cores, in an environment of its own. Run by
`benchmarks/rollout.py`."""

import time

import numpy as np
import torch  # pyrefly: ignore
from transformers import Gemma2Config, Gemma2ForCausalLM  # pyrefly: ignore

from benchmarks.peers.generation import (
    SIZES,
    Size,
    Work,
    peer_arguments,
    read_weights,
    static_account,
    works,
)
from benchmarks.peers.work import reserve_stdout

BATCHES = {"demo": (64,), "35m": (64, 128)}
NORMS = {  # ours: theirs
    "pre_attention_norm": "input_layernorm",
    "post_attn_norm": "post_attention_layernorm",
    "pre_ffw_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def build(size: Size, weights) -> Gemma2ForCausalLM:
    config = Gemma2Config(
        vocab_size=size.vocabulary,
        hidden_size=size.embed_dim,
        intermediate_size=size.hidden_dim,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        head_dim=size.head_dim,
        query_pre_attn_scalar=size.head_dim,
        sliding_window=4096,
        eos_token_id=None,
        bos_token_id=None,
        pad_token_id=0,
    )
    config._attn_implementation = "eager"  # the others leave the soft-cap of scores out
    model = Gemma2ForCausalLM(config).float().eval()
    missing, unexpected = model.load_state_dict(converted(size, weights), strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise ValueError(f"weights do not fit: missing {missing}, unexpected {unexpected}")
    return model


def converted(size: Size, weights) -> dict[str, torch.Tensor]:
    """Our parameters under their names and in their layouts."""

    def heads(array):  # [N, D, H] -> [N H, D]
        return array.transpose(0, 2, 1).reshape(-1, array.shape[1])

    found = {
        "model.embed_tokens.weight": weights["embedder.input_embedding"],
        "model.norm.weight": weights["final_norm.scale"],
    }
    for number in range(size.layers):
        ours, theirs = f"layers.{number}", f"model.layers.{number}"
        key, value = weights[f"{ours}.attn.kv_einsum.w"]
        out = weights[f"{ours}.attn.attn_vec_einsum.w"]
        found |= {
            f"{theirs}.self_attn.q_proj.weight": heads(weights[f"{ours}.attn.q_einsum.w"]),
            f"{theirs}.self_attn.k_proj.weight": heads(key),
            f"{theirs}.self_attn.v_proj.weight": heads(value),
            f"{theirs}.self_attn.o_proj.weight": out.reshape(-1, out.shape[-1]).T,
        }
        for part in ("gate", "up", "down"):
            found[f"{theirs}.mlp.{part}_proj.weight"] = weights[f"{ours}.mlp.{part}_proj.kernel"].T
        for norm, name in NORMS.items():
            found[f"{theirs}.{name}.weight"] = weights[f"{ours}.{norm}.scale"]
    return {name: torch.from_numpy(np.array(value)) for name, value in found.items()}


@torch.no_grad()
def measure(model: Gemma2ForCausalLM, work: Work, sizes) -> dict:
    def generate(prompts: np.ndarray, steps: int) -> None:
        ids = torch.from_numpy(prompts.astype(np.int64))
        model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=steps,
            min_new_tokens=steps,
        )

    def turn(size: int) -> list[tuple[float, int]]:
        start, ends = time.perf_counter(), []
        for prompts, steps in work.batches(size):
            generate(prompts, steps)
            ends.append((time.perf_counter() - start, steps))
        return ends

    def warm(size: int) -> None:  # nothing is compiled
        generate(work.batches(size)[0][0], 8)

    return static_account(work, sizes, turn, warm)


def main() -> None:
    args = peer_arguments(__doc__).parse_args()
    print_account = reserve_stdout()
    torch.manual_seed(args.seed)
    model = build(SIZES[args.size], read_weights(args.weights))
    sizes = (args.rows,) if args.rows else BATCHES[args.size]
    results = {mode: measure(model, work, sizes) for mode, work in works(args).items()}
    print_account({mode: one | {"programs_compiled": 0} for mode, one in results.items()})


if __name__ == "__main__":
    main()
