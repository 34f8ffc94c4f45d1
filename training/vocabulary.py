"""Trains the vocabulary and writes it as a GGUF file without weights.

    generate text --seed 1 --count 40000 | python training/vocabulary.py vocabulary.gguf

Reads the generator's conversations as text and trains SentencePiece BPE on them: byte fallback,
every digit a token of its own, nothing normalized, no space lost.
"""

import argparse
import io
import re
import sys

import sentencepiece

import gguf_file as gguf

SPECIAL = ["<unk>", "<s>", "</s>"]
REQUIRED = "".join(map(chr, range(33, 127))) + "×÷−√π°²³£€"
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6

# Candidates beyond the wanted size, to make up for the ones that are turned away.
SPARE = 256
SPACE = "▁"

# An operator or a bracket is a token of its own, so that an expression is always cut the same way,
# whoever wrote it. The power sign and a sign after a space are the exceptions.
ALONE = re.compile(r"[-+*/^()%×÷−√π°²³<>=→£€$]")


# What stands around every question and reply: a token each, because every reply pays for them.
FRAME = ["▁```json", '{"action":', '▁"action_input":', "[INST]", "▁[/INST]", "User:", "Assistant:", "Observation:"]


def wanted(piece):
    """Whether a merged piece belongs in the vocabulary."""
    bare = piece.lstrip(SPACE)
    if len(bare) <= 1 or bare == "**":
        return True
    return not ALONE.search(bare)


def split(word, rank):
    """How byte-pair encoding cuts a word: the pair whose merge ranks first is merged first."""
    parts = list(word)
    while True:
        pairs = [rank.get(left + right, len(rank)) for left, right in zip(parts, parts[1:])]
        if not pairs or min(pairs) == len(rank):
            return parts
        at = pairs.index(min(pairs))
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def frame(merged):
    """The pieces to add behind the merged ones so that each of `FRAME` ends as one token: what it is
    cut into so far, joined from the left. As they rank last, nothing else is cut differently."""
    added = []
    for word in FRAME:
        parts = split(word, {piece: rank for rank, piece in enumerate(merged + added)})
        added += ["".join(parts[:count]) for count in range(2, len(parts) + 1)]
    return added


def train(lines, size):
    """The pieces in order of their merge, then the single characters."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=size + SPARE,
        character_coverage=1.0,
        required_chars=REQUIRED,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        # Lines are pieces of a longer text here: what they begin with is no beginning. The file
        # that is written still says, like Llama-2's, that text is given a space in front.
        add_dummy_prefix=False,
        max_sentence_length=1 << 20,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=2,
        minloglevel=1,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    plain = range(len(SPECIAL) + 256, len(processor))
    pieces = [processor.id_to_piece(id) for id in plain]
    characters = [piece for piece in pieces if len(piece) == 1]
    merged = [piece for piece in pieces if len(piece) > 1 and wanted(piece)]
    room = size - len(SPECIAL) - 256 - len(characters)
    if len(merged) < room:
        raise SystemExit(f"only {len(merged)} pieces for {room} places: give more text or a smaller --size")
    # A shorter list of merges may cut the frame into more pieces, which take more places.
    kept = room
    while kept + len(frame(merged[:kept])) > room:
        kept -= 1
    return merged[: room - len(frame(merged[:kept]))] + frame(merged[:kept]) + characters


def metadata(pieces):
    """The vocabulary as llama.cpp's converter describes a Llama-2 one."""
    tokens = SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)] + pieces
    kinds = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * len(pieces)
    scores = [0.0] * (len(SPECIAL) + 256) + [-float(rank) for rank in range(len(pieces))]
    return {
        "general.architecture": (gguf.STRING, "llama"),
        "general.name": (gguf.STRING, "llama-agent vocabulary"),
        "tokenizer.ggml.model": (gguf.STRING, "llama"),
        "tokenizer.ggml.pre": (gguf.STRING, "default"),
        "tokenizer.ggml.tokens": (gguf.ARRAY, (gguf.STRING, tokens)),
        "tokenizer.ggml.scores": (gguf.ARRAY, (gguf.F32, scores)),
        "tokenizer.ggml.token_type": (gguf.ARRAY, (gguf.I32, kinds)),
        "tokenizer.ggml.bos_token_id": (gguf.U32, 1),
        "tokenizer.ggml.eos_token_id": (gguf.U32, 2),
        "tokenizer.ggml.unknown_token_id": (gguf.U32, 0),
        "tokenizer.ggml.add_bos_token": (gguf.BOOL, True),
        "tokenizer.ggml.add_eos_token": (gguf.BOOL, False),
        "tokenizer.ggml.add_space_prefix": (gguf.BOOL, True),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", help="the GGUF file to write")
    parser.add_argument("--size", type=int, default=2048, help="tokens in all")
    arguments = parser.parse_args()
    lines = (line.rstrip("\n") for line in io.TextIOWrapper(sys.stdin.buffer, "utf-8", newline="\n"))
    gguf.write(arguments.out, metadata(train((line for line in lines if line), arguments.size)), {})
    print(f"{arguments.out}: {arguments.size} tokens", file=sys.stderr)


if __name__ == "__main__":
    main()
