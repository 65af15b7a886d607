"""Greedy completions of SmolLM2-135M-Instruct by `transformers`: writes smollm2.json.

In the environment of make_families.py, after `launch.py weights smollm2`:

    /tmp/oracle/bin/python tests/learner/golden/make_smollm2.py weights/smollm2-135m-instruct
"""

import json
import sys
from pathlib import Path

import torch
import transformers

NEW_TOKENS = 40
PROMPTS = [
    "What is 17 + 25?",
    "Which is larger, 9.8 or 9.11? Explain.",
    "Tom has 25 coins and gives 7 to Ann. How many coins does Tom have?",
    "Write the first five prime numbers.",
    "What is the capital of France?",
    "What does a plant need to grow?",
    "Water boils at 100 °C. At what temperature does it freeze?",
    "Ann is taller than Ben. Ben is taller than Cem. Who is the shortest?",
    "Translate to German: Good morning, my friend!",
    "Is 51 a prime number?",
    "  What comes after Wednesday?  ",
    "List three mammals.\nOne line each.",
    "Who wrote 'Romeo and Juliet'?",
    "def add(a, b):\n    return a + b\n\nWhat does add(2, 3) return?",
    "Solve for x: 3x - 4 = 11.",
    "What is the symbol of the element iron?",
    "How many minutes are there in 3.5 hours?",
    "Naïve façade — 你好! What languages are these words from?",
    "Answer with one word: what colour is the sky on a clear day?",
    "If all bloops are razzies and all razzies are lazzies, are all bloops lazzies?",
]


def main() -> None:
    folder = sys.argv[1]
    torch.set_num_threads(1)  # as fast as two for one row, and faster beside other work
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    rows = []
    for prompt in PROMPTS:
        messages = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        rows.append({"prompt": prompt, "ids": ids, **completed(model, tokenizer, ids)})
    path = Path(__file__).with_name("smollm2.json")
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    print(path, len(rows))


def completed(model, tokenizer, ids: list[int]) -> dict:
    with torch.no_grad():
        whole = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
        )
    tokens = whole[0, len(ids) :].tolist()
    return {"tokens": tokens, "text": tokenizer.decode(tokens, skip_special_tokens=True)}


if __name__ == "__main__":
    main()
