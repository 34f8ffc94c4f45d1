"""How llama.cpp continues prompts, greedily.

Opens MODEL.gguf with llama.cpp, continues the ids of every prompt that stands
in FOLDER/prompts.json by as many tokens as it says there, and writes
FOLDER/continuations.json.

    python continuations.py FOLDER MODEL.gguf
"""

import json
import sys
from pathlib import Path

from server import post, serve


def continuation(server, prompt, length):
    body = {
        "prompt": prompt,
        "n_predict": length,
        "temperature": 0,
        "top_k": 1,
        "repeat_penalty": 1,
        "return_tokens": True,
    }
    return post(server, "/completion", body)["tokens"]


def main():
    folder, model = Path(sys.argv[1]), sys.argv[2]
    prompts = json.loads((folder / "prompts.json").read_text())
    server = serve(model, 4096)
    continuations = [continuation(server, each["prompt"], each["length"]) for each in prompts]
    (folder / "continuations.json").write_text(json.dumps(continuations))


if __name__ == "__main__":
    main()
