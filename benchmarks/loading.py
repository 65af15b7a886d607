"""Host memory while published weights are read, beside the largest of their tensors.

  python benchmarks/loading.py [--width 256] [--layers 8] [--dtype bfloat16]

Writes Gemma2 with its 256,000 ids and random weights, as a Hugging Face folder in two shards and as
Kaggle's checkpoint, then reads each in a process of its own into a mesh of one and of two devices.
On a CPU the parameters stay in host memory; "beside" is what was there at the worst moment above
what stays. The last line is one JSON object: MB of 10^6 bytes, "shares" of the largest tensor as
it is read (float32); the promise is less than 2. Linux only.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import ChainMap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from safetensors.numpy import save_file

from benchmarks.race import environment
from configs.schema import LearnerSection, ModelSection
from learner.policy.kaggle import save_checkpoint
from learner.policy.layout import as_stored
from learner.policy.model import PolicyModel, build_model
from learner.policy.pretrained import load_weights
from learner.policy.sharding import make_mesh

LAYOUTS = ("hf", "kaggle")


def gemma2(width: int, layers: int) -> dict:
    """The config.json of a Gemma2 that narrow."""
    return {
        "model_type": "gemma2",
        "vocab_size": 256_000,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": width // 4,
        "query_pre_attn_scalar": width // 4,
        "sliding_window": 64,
        "final_logit_softcapping": 30.0,
        "attn_logit_softcapping": 50.0,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
    }


def write(folder: Path, model: PolicyModel, dtype: str) -> None:
    params = jax.tree.map(np.asarray, jax.jit(model.init)(0))
    save_checkpoint(model.architecture, params, folder / "kaggle" / "params")
    named = dict(ChainMap(*as_stored(model.architecture, params, jnp.dtype(dtype))))
    (folder / "hf").mkdir()
    place = {name: f"model-{1 + number % 2}.safetensors" for number, name in enumerate(named)}
    for file in sorted(set(place.values())):
        shard = {name: value for name, value in named.items() if place[name] == file}
        save_file(shard, folder / "hf" / file)
    index = json.dumps({"weight_map": place})
    (folder / "hf" / "model.safetensors.index.json").write_text(index)


def own_mb() -> float:
    """Memory of this process alone: files that are mapped count as the system's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024 / 1e6


def load(folder: Path, architecture: dict, devices: int) -> dict:
    """Reads one folder in this process, and says what it held on the way."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    model = build_model(ModelSection(architecture=architecture))
    mesh = make_mesh(LearnerSection(fsdp=devices))
    shardings = {name: NamedSharding(mesh, p) for name, p in model.partition_specs().items()}
    seen, done = [own_mb()], threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.append(own_mb())
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    params = load_weights(model.architecture, folder, shardings)
    seconds = time.perf_counter() - began
    done.set()
    watcher.join()
    largest = max(4 * x.size for x in params.values()) / 1e6
    beside = max(seen) - own_mb()
    return {
        "seconds": round(seconds, 2),
        "parameters_mb": round(sum(4 * x.size for x in params.values()) / 1e6, 1),
        "largest_tensor_mb": round(largest, 1),
        "beside_mb": round(beside, 1),
        "share": round(beside / largest, 3),
        "looks": len(seen),
    }


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--width", type=int, default=256)
    options.add_argument("--layers", type=int, default=8)
    options.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    options.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--devices", type=int, default=1, help=argparse.SUPPRESS)
    args = options.parse_args()
    architecture = gemma2(args.width, args.layers)
    if args.load:
        print(json.dumps(load(args.load, architecture, args.devices)))
        return
    ours: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as place:
        write(Path(place), build_model(ModelSection(architecture=architecture)), args.dtype)
        for layout in LAYOUTS:
            for devices in (1, 2):
                command = [sys.executable, __file__, "--width", str(args.width)]
                command += ["--layers", str(args.layers), "--load", f"{place}/{layout}"]
                command += ["--devices", str(devices)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                ours[f"{layout}_{devices}"] = json.loads(done.stdout.splitlines()[-1])
                print(f"{layout}, {devices} device(s): {done.stdout.strip()}", file=sys.stderr)
    shares = {name: found["share"] for name, found in ours.items()}
    print(json.dumps({
        "benchmark": "loading",
        "ours": ours,
        "peers": {},
        "ratios": {},
        "shares": shares,
        "environment": environment(),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
