//! `tokenizer.model`, the few fields of it that matter. The file is a protocol
//! buffer (<https://protobuf.dev/programming-guides/encoding/>), its fields
//! are numbered in sentencepiece_model.proto.

use super::{NORMAL, Piece, Vocabulary};

/// ModelProto.
const PIECES: u64 = 1;
const TRAINER: u64 = 2;
const NORMALIZER: u64 = 3;
/// ModelProto.SentencePiece.
const TEXT: u64 = 1;
const SCORE: u64 = 2;
const KIND: u64 = 3;
/// TrainerSpec, and its value for byte-pair encoding.
const MODEL_TYPE: u64 = 3;
const BPE: u64 = 2;
/// NormalizerSpec.
const ADD_DUMMY_PREFIX: u64 = 3;

/// A field's value.
enum Field<'a> {
    Number(u64),
    Float(f32),
    Bytes(&'a [u8]),
}

/// The file begins with a piece. (Llama 3 has a file of the same name that
/// begins with a letter of base64.)
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    bytes.first() == Some(&((PIECES as u8) << 3 | 2))
}

/// The vocabulary.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn read(bytes: &[u8]) -> Result<Vocabulary, String> {
    let (mut pieces, mut add_space, mut model_type) = (Vec::new(), true, 1);
    for (number, field) in fields(bytes)? {
        match (number, field) {
            (PIECES, Field::Bytes(bytes)) => pieces.push(piece(bytes, pieces.len())?),
            (TRAINER, Field::Bytes(bytes)) => {
                for (number, field) in fields(bytes)? {
                    if let (MODEL_TYPE, Field::Number(value)) = (number, field) {
                        model_type = value;
                    }
                }
            }
            (NORMALIZER, Field::Bytes(bytes)) => {
                for (number, field) in fields(bytes)? {
                    if let (ADD_DUMMY_PREFIX, Field::Number(value)) = (number, field) {
                        add_space = value != 0;
                    }
                }
            }
            _ => {}
        }
    }
    if pieces.is_empty() {
        return Err("it has no pieces".into());
    }
    if model_type != BPE {
        return Err(format!("its model type is {model_type}, byte-pair encoding is {BPE}"));
    }
    Ok(Vocabulary { model: "llama", pre: None, pieces, merges: Vec::new(), add_space })
}

fn piece(bytes: &[u8], id: usize) -> Result<Piece, String> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: NORMAL };
    for (number, field) in fields(bytes)? {
        match (number, field) {
            (TEXT, Field::Bytes(text)) => {
                let text = std::str::from_utf8(text);
                piece.text = text.map_err(|_| format!("piece {id} is not UTF-8"))?.into();
            }
            (SCORE, Field::Float(score)) => piece.score = score,
            (KIND, Field::Number(kind @ 1..=6)) => piece.kind = kind as i32,
            (KIND, _) => return Err(format!("piece {id} is of no known kind")),
            _ => {}
        }
    }
    Ok(piece)
}

/// The fields of a message, in their order.
fn fields(bytes: &[u8]) -> Result<Vec<(u64, Field<'_>)>, String> {
    let mut rest = bytes;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut rest)?),
            1 => {
                take(&mut rest, 8)?;
                continue;
            }
            2 => {
                let length = varint(&mut rest)?;
                Field::Bytes(take(&mut rest, length)?)
            }
            5 => {
                let mut float = [0; 4];
                float.copy_from_slice(take(&mut rest, 4)?);
                Field::Float(f32::from_le_bytes(float))
            }
            other => return Err(format!("a field of the unknown kind {other}")),
        };
        fields.push((tag >> 3, field));
    }
    Ok(fields)
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], String> {
    let split = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
    let (taken, left) = split.ok_or("it is cut short")?;
    *rest = left;
    Ok(taken)
}

/// A number in pieces of seven bits, the lowest first.
fn varint(rest: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("a number that does not end".into())
}
