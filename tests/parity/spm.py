"""Ids that SentencePiece and llama.cpp give to awkward strings.

Trains a vocabulary of the Llama-2 kind on text it makes itself, writes it as a
GGUF with a model too small to matter, encodes the strings that stand in
FOLDER/strings.json with both, and writes FOLDER/ids.json.

    python spm.py FOLDER PIECES
"""

import json
import random
import sys
from pathlib import Path

import gguf
import numpy
import sentencepiece
from server import serve, tokenize

# Letters to make words of: Latin, Latin with marks, Greek, Cyrillic, Hebrew,
# Arabic, Devanagari, Thai, Kana, Hangul, Han.
ALPHABETS = [
    "aeiouaeiouaeioubcdfghjklmnpqrstvwxyz",
    "aeiouaeiouéèüöäçñßbcdlmnrst",
    "αβγδεζηθικλμνξοπρστυφχψω",
    "абвгдежзиклмнопрстуфхцчшщыэюя",
    "אבגדהוזחטילמנסעפצקרשת",
    "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "कखगघचछजझटठडढतथदधनपफबभमयरलवशसहािीुूे",
    "กขคงจชซญดตถทนบปพฟมยรลวสหอะาิีุู",
    "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほ",
    "가나다라마바사아자차카타파하고노도로모보소오조",
    "的一是不了人我在有他这中大来上个国到说们为子和你地出道也时年",
]
WEIGHTS = [12, 3, 1, 2, 1, 1, 1, 1, 1, 1, 1]


def text(seed, lines):
    """Lines of made-up words: frequent ones often, rare ones rarely."""
    choose = random.Random(seed)
    words = []
    for _ in range(60_000):
        alphabet = choose.choices(ALPHABETS, WEIGHTS)[0]
        words.append("".join(choose.choices(alphabet, k=choose.randint(1, 9))))
    frequency = [1 / (rank + 10) for rank in range(len(words))]
    marks = ["", "", "", "", ",", ".", "!", "?", ":", ";", "'s", '"', ")", "}", "```", "\t"]
    for _ in range(lines):
        line = choose.choices(words, frequency, k=choose.randint(3, 30))
        line = [word.capitalize() if choose.random() < 0.1 else word for word in line]
        line = [str(choose.randint(0, 99999)) if choose.random() < 0.05 else w for w in line]
        spaces = choose.choices([" ", "  ", "   ", "    "], [50, 2, 1, 1], k=len(line))
        yield "".join(w + choose.choice(marks) + s for w, s in zip(line, spaces)).rstrip()


def train(folder, pieces):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=text(1, 25_000),
        model_prefix=str(folder / "vocabulary"),
        model_type="bpe",
        vocab_size=pieces,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        normalization_rule_name="identity",
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        character_coverage=0.99995,
        num_threads=2,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(str(folder / "vocabulary.model"))


def write_gguf(path, vocabulary):
    pieces = range(vocabulary.get_piece_size())
    kind = gguf.TokenType
    kinds = [
        kind.UNKNOWN if vocabulary.is_unknown(i)
        else kind.CONTROL if vocabulary.is_control(i)
        else kind.BYTE if vocabulary.is_byte(i)
        else kind.NORMAL
        for i in pieces
    ]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(1)
    writer.add_context_length(2048)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(32)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(32)
    writer.add_vocab_size(len(pieces))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([vocabulary.id_to_piece(i) for i in pieces])
    writer.add_token_scores([vocabulary.get_score(i) for i in pieces])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    square = numpy.zeros((32, 32), dtype=numpy.float32)
    norm = numpy.ones(32, dtype=numpy.float32)
    writer.add_tensor("token_embd.weight", numpy.zeros((len(pieces), 32), dtype=numpy.float32))
    for name in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]:
        writer.add_tensor(f"blk.0.{name}.weight", square)
    for name in ["blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"]:
        writer.add_tensor(f"{name}.weight", norm)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    folder, pieces = Path(sys.argv[1]), int(sys.argv[2])
    strings = json.loads((folder / "strings.json").read_text(encoding="utf-8"))
    vocabulary = train(folder, pieces)
    write_gguf(folder / "vocabulary.gguf", vocabulary)
    server = serve(folder / "vocabulary.gguf", 256, threads=1)
    ids = {
        "sentencepiece": [vocabulary.encode(string) for string in strings],
        "llama.cpp": [tokenize(server, string) for string in strings],
    }
    (folder / "ids.json").write_text(json.dumps(ids))


if __name__ == "__main__":
    main()
