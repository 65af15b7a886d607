"""Load an exported folder with `transformers`, or an adapter with `peft`; compare logits and ids.

    ORACLE_PYTHON tests/learner/golden/check_export.py FOLDER EXPECTED.npz

EXPECTED holds "ids" [T] and their "logits" [T, V], and may hold a "text" and its "tokens". Prints
the largest difference; exit code 1 above 1e-4 or where `transformers` reads the text as other ids.
`test_export.py` runs it when SHOWWORK_ORACLE names the interpreter of make_families.py.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import transformers


def main() -> int:
    folder, expected = sys.argv[1], np.load(sys.argv[2])
    library = transformers.AutoModelForCausalLM
    if (Path(folder) / "adapter_config.json").exists():
        from peft import AutoPeftModelForCausalLM as library
    model = library.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        logits = model(torch.tensor(expected["ids"][None]).long()).logits[0].numpy()
    difference = float(np.abs(logits - expected["logits"]).max())
    print(f"largest difference {difference:.1e}")
    if difference > 1e-4:
        return 1
    if "text" in expected:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        same = tokenizer(str(expected["text"]))["input_ids"] == expected["tokens"].tolist()
        print(f"the same token ids: {same}")
        return int(not same)
    return 0


if __name__ == "__main__":
    sys.exit(main())
