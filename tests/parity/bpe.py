"""Ids that llama.cpp gives to awkward strings with byte-level vocabularies.

Opens every GGUF file in FOLDER, encodes the strings that stand in
FOLDER/strings.json, and writes FOLDER/ids.json: ids by the file's name.

    python bpe.py FOLDER
"""

import json
import sys
from pathlib import Path

from server import serve, tokenize


def main():
    folder = Path(sys.argv[1])
    strings = json.loads((folder / "strings.json").read_text(encoding="utf-8"))
    ids = {}
    for model in sorted(folder.glob("*.gguf")):
        server = serve(model, 256, threads=1)
        ids[model.stem] = [tokenize(server, string) for string in strings]
    (folder / "ids.json").write_text(json.dumps(ids))


if __name__ == "__main__":
    main()
