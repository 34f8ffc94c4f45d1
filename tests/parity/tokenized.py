"""How llama.cpp splits texts.

Opens MODEL.gguf with llama.cpp, splits every text that stands in
FOLDER/texts.json and writes the ids to FOLDER/ids.json.

    python tokenized.py FOLDER MODEL.gguf
"""

import json
import sys
import urllib.request
from pathlib import Path

from continuations import serve


def main():
    folder = Path(sys.argv[1])
    server = serve(sys.argv[2], 256)

    def ids(text):
        body = json.dumps({"content": text, "add_special": False, "parse_special": False})
        request = urllib.request.Request(
            server.listening_address + "/tokenize",
            body.encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["tokens"]

    texts = json.loads((folder / "texts.json").read_text())
    (folder / "ids.json").write_text(json.dumps([ids(text) for text in texts]))


if __name__ == "__main__":
    main()
