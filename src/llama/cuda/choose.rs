//! The choice of a token where the logits are: a question up, an id down.

use anyhow::{Context, Result};

use super::Cuda;
use crate::llama::choice::{Choice, ChoiceError};

/// Bytes of `Ask` in `kernels/choice.cuh`, before the bits of all ids.
const HEADER: usize = 40;

/// Bytes of a question.
pub(super) fn question(vocab: usize) -> usize {
    HEADER + 2 * set(vocab)
}

/// Bytes of a bit for each id, in whole words of 32.
fn set(vocab: usize) -> usize {
    vocab.div_ceil(32) * size_of::<u32>()
}

impl Cuda {
    /// The id chosen from this row of the logits' buffer.
    pub(super) fn choose_from(&mut self, row: usize, choice: &Choice) -> Result<u32> {
        self.device.bind()?;
        let bytes = question(self.config.vocab);
        // The upload before has ended, since its answer was read.
        write(choice, row, self.config.vocab, &mut self.ask.bytes()[..bytes]);
        self.device.upload(self.at.ask, &self.ask, bytes, self.device.stream)?;
        self.device.run(&self.choosing)?;
        let mut answer = [0i32];
        self.device.read(&mut answer, self.at.answer)?;
        // As the kernel names what is wrong.
        match answer[0] {
            -1 => Err(ChoiceError::NotANumber)?,
            -2 => Err(ChoiceError::Nothing)?,
            id => u32::try_from(id).context("the GPU chose no token"),
        }
    }
}

/// Writes a question as the kernel reads it.
fn write(choice: &Choice, row: usize, vocab: usize, to: &mut [u8]) {
    let (header, sets) = to.split_at_mut(HEADER);
    let (allowed, penalized) = sets.split_at_mut(set(vocab));
    let draw = choice.draw.as_ref();
    let top_k = draw.map_or(0, |draw| draw.top_k).min(vocab) as u32;
    let words = [
        choice.penalty.to_bits(),
        draw.map_or(0.0, |draw| draw.scale()).to_bits(),
        row as u32,
        top_k,
        draw.is_some().into(),
        0,
    ];
    let long = [draw.map_or(0, |draw| draw.share()), draw.map_or(0, |draw| draw.random)];
    let (first, rest) = header.split_at_mut(size_of_val(&long));
    first.copy_from_slice(long.map(u64::to_le_bytes).as_flattened());
    rest.copy_from_slice(words.map(u32::to_le_bytes).as_flattened());
    match choice.allowed {
        Some(bits) => {
            let bits = bits.iter().copied().chain(std::iter::repeat(0));
            for (to, bits) in allowed.chunks_exact_mut(4).zip(bits) {
                to.copy_from_slice(&bits.to_le_bytes());
            }
        }
        None => allowed.fill(0xff),
    }
    penalized.fill(0);
    for id in choice.penalized.iter().map(|id| *id as usize).filter(|id| *id < vocab) {
        penalized[id / 8] |= 1 << (id % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llama::Draw;
    use crate::llama::cuda::{Format, devices};
    use crate::llama::synthetic::{Shape, Synthetic};

    #[test]
    fn a_question_has_its_bits_where_the_kernel_reads_them() {
        let penalized = [0, 35, 70].into();
        let choice =
            Choice { allowed: Some(&[5]), penalized: &penalized, penalty: 1.5, draw: None };
        let mut bytes = vec![0xaa; question(40)];
        write(&choice, 3, 40, &mut bytes);
        let words: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes(std::array::from_fn(|i| word[i])))
            .collect();
        assert_eq!(words, [0, 0, 0, 0, 1.5f32.to_bits(), 0, 3, 0, 0, 0, 5, 0, 1, 1 << 3]);
        let draw = Draw { temperature: 1.0, top_k: 99, top_p: 1.0, random: 7 };
        write(&Choice { allowed: None, draw: Some(draw), ..choice }, 0, 40, &mut bytes);
        assert_eq!(bytes[..8], [0xff; 8], "all of the distribution");
        assert_eq!((bytes[28], bytes[32]), (40, 1));
        assert_eq!(bytes[HEADER..HEADER + 8], [0xff; 8]);
    }

    /// Rows that are made up: with ties, zeros of both signs, and what is
    /// impossible. The same ids as on the host, every one.
    #[test]
    fn the_gpu_chooses_as_the_host_does() {
        if devices() == 0 {
            println!("skipped: there is no NVIDIA GPU here");
            return;
        }
        let synthetic = Synthetic::new(&Shape::ALL[3], Format::Q8_0, 0).expect("a model");
        let mut cuda = Cuda::open(synthetic.gguf(), None, None, 0, &mut |_| {}).expect("an engine");
        let vocab = cuda.config.vocab;
        let mut state = 1u64;
        let mut random = move || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (state >> 32) as u32
        };
        let (mut ids, mut row) = (std::collections::BTreeSet::new(), vec![0.0f32; vocab]);
        for case in 0..240 {
            for logit in &mut row {
                let unit = (random() >> 8) as f32 / (1 << 24) as f32;
                *logit = match case % 4 {
                    0 => 20.0 * unit - 10.0,
                    // Many ties, at zero and elsewhere.
                    1 => (8.0 * unit).floor() * 0.5 * if random() % 2 == 0 { 1.0 } else { -1.0 },
                    2 if unit < 0.9 => f32::NEG_INFINITY,
                    _ => unit.ln() * -3.0,
                };
            }
            match case {
                11 => row[77] = f32::NAN,
                22 => row[vocab - 1] = f32::INFINITY,
                33 => row.fill(f32::NEG_INFINITY),
                44 => row.fill(0.0),
                _ => {}
            }
            let mask: Vec<u32> = (0..vocab / 32).map(|_| random() & random()).collect();
            let penalized = (0..random() % 300).map(|_| random() % vocab as u32).collect();
            let choice = Choice {
                allowed: (case % 3 == 0).then_some(&mask[..]),
                penalized: &penalized,
                penalty: [1.0, 1.1, 0.7][case % 3],
                draw: (case % 5 > 0).then(|| Draw {
                    temperature: [0.1, 0.7, 1.0, 3.0][case % 5 - 1],
                    top_k: [0, 1, 40, 5000][case / 5 % 4],
                    top_p: [1.0, 0.9, 0.3][case / 20 % 3],
                    random: u64::from(random()) << 32 | u64::from(random()),
                }),
            };
            let place = case % 2;
            let at = cuda.at.logits + (place * vocab * size_of::<f32>()) as u64;
            cuda.device.write(at, &row).expect("a write");
            let (ours, host) = (cuda.choose_from(place, &choice), choice.of(&row));
            match (ours, host) {
                (Ok(ours), Ok(host)) => assert_eq!(ours, host, "{case}: {:?}", choice.draw),
                (Err(ours), Err(host)) => assert_eq!(ours.to_string(), host.to_string()),
                (ours, host) => panic!("{case}: {ours:?} is not {host:?}"),
            }
            ids.extend(host.ok());
        }
        assert!(ids.len() > 100, "{} different ids", ids.len());
    }
}
