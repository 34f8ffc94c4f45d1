"""What another implementation thinks of texts, position by position.

Reads FOLDER/texts.json, a list of {"ids", "positions"}, opens MODEL.gguf with
ENGINE (llama.cpp or transformers) and writes FOLDER/logits.json: for every
position of every text the most probable next tokens after the ids up to and
with that position, each as [id, log probability]. Where transformers is asked
for and not there, writes nothing and exits with 3.

    python logits.py ENGINE FOLDER MODEL.gguf
"""

import importlib.util
import json
import sys
from pathlib import Path

# The most probable tokens that are kept of each position.
MOST = 8


def llama_cpp(model, texts):
    from server import post, serve, tokenize

    server = serve(model, 4096)
    # What is chosen does not matter, but it has to be text: of half a
    # character the server reports nothing.
    chosen = tokenize(server, "a")[-1]
    for text in texts:
        rows = []
        for position in text["positions"]:
            body = {
                "prompt": text["ids"][: position + 1],
                "n_predict": 1,
                "n_probs": MOST,
                "temperature": 0,
                "repeat_penalty": 1,
                "logit_bias": [[chosen, 1e6]],
                "cache_prompt": True,
            }
            answer = post(server, "/completion", body)
            top = answer["completion_probabilities"][0]["top_logprobs"]
            rows.append([[each["id"], each["logprob"]] for each in top])
        yield rows


def transformers(model, texts):
    import torch
    from transformers import AutoModelForCausalLM

    model = Path(model)
    llama = AutoModelForCausalLM.from_pretrained(
        model.parent, gguf_file=model.name, dtype=torch.float32, local_files_only=True
    )
    llama.eval()
    for text in texts:
        with torch.no_grad():
            logits = llama(torch.tensor([text["ids"]])).logits[0][text["positions"]]
        top = torch.log_softmax(logits.double(), -1).topk(MOST)
        yield [list(zip(*row)) for row in zip(top.indices.tolist(), top.values.tolist())]


def main():
    engine, folder, model = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    if engine == "transformers" and importlib.util.find_spec("transformers") is None:
        sys.exit(3)
    texts = json.loads((folder / "texts.json").read_text())
    run = {"llama.cpp": llama_cpp, "transformers": transformers}[engine]
    (folder / "logits.json").write_text(json.dumps(list(run(model, texts))))


if __name__ == "__main__":
    main()
