//! Guesses at the next tokens, copied from where the last ones occurred before
//! (prompt lookup; Saxena 2023). A guess costs no model: it is verified in the
//! pass that is due anyway, and a wrong one changes nothing but time.

/// Tokens before a place that are compared, at most.
const LONGEST: usize = 16;

/// Tokens that have to agree before something is copied from anywhere.
const ANYWHERE: usize = 2;

/// Copies what may come next.
pub struct Drafter {
    /// What a tool said last: numbers are copied from it.
    observation: Vec<u32>,
    /// Tokens in a guess, at most, and as many as guessing pays for now.
    most: usize,
    length: usize,
}

impl Drafter {
    /// Guesses of at most `most` tokens; none if that is 0.
    pub fn new(observation: Vec<u32>, most: usize) -> Self {
        Self { observation, most, length: most }
    }

    /// What may follow `text`: from the latest observation where its tokens
    /// are found in it, otherwise from the place in the text itself that has
    /// most before it in common, the latest of several.
    pub fn guess(&self, text: &[u32]) -> Vec<u32> {
        if self.length == 0 {
            return Vec::new();
        }
        let seen = self.observation.as_slice();
        // The first of several: a number is copied from its beginning.
        let said = best((1..seen.len()).rev(), seen, text, 1);
        let found = said.map(|at| &seen[at..]).or_else(|| {
            let at = best(1..text.len(), text, text, ANYWHERE)?;
            Some(&text[at..])
        });
        found.unwrap_or_default().iter().take(self.length).copied().collect()
    }

    /// Notes how a guess did: twice as many after one that was right, one more
    /// than were right after any other.
    pub fn learn(&mut self, guessed: usize, right: usize) {
        if guessed > 0 {
            let next = if right == guessed { self.length * 2 } else { right + 1 };
            self.length = next.min(self.most);
        }
    }
}

/// The place in `source` with the most tokens before it that `text` ends in,
/// at least `least`; of several the one that comes last.
fn best(
    places: impl Iterator<Item = usize>,
    source: &[u32],
    text: &[u32],
    least: usize,
) -> Option<usize> {
    let common = |at: usize| {
        let pairs = source[..at].iter().rev().zip(text.iter().rev()).take(LONGEST);
        pairs.take_while(|(a, b)| a == b).count()
    };
    let places = places.map(|at| (common(at), at)).filter(|(common, _)| *common >= least);
    places.max_by_key(|(common, _)| *common).map(|(_, at)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_observation_comes_first_then_the_longest_match() {
        let text = [1, 2, 3, 4, 9, 2, 3, 5, 9, 1, 2, 3];
        let guess = |observation: &[u32], most| Drafter::new(observation.into(), most).guess(&text);
        assert_eq!(guess(&[], 2), [4, 9]);
        assert_eq!(guess(&[7, 3, 8, 3, 6], 8), [8, 3, 6]);
        assert_eq!(guess(&[7, 3, 8, 2, 3, 6], 8), [6]);
        assert_eq!(guess(&[3], 8), [4, 9, 2, 3, 5, 9, 1, 2]);
        assert!(guess(&[7, 3, 8], 0).is_empty());
        assert!(Drafter::new(Vec::new(), 8).guess(&[1, 2, 1]).is_empty());
    }

    #[test]
    fn a_guess_grows_while_it_is_right() {
        let mut drafter = Drafter::new((0..20).collect(), 8);
        let mut lengths = Vec::new();
        for right in [3, 4, 8, 0, 1, 2] {
            let guessed = drafter.guess(&[0]).len();
            drafter.learn(guessed, right);
            lengths.push(guessed);
        }
        assert_eq!(lengths, [8, 4, 8, 8, 1, 2]);
        drafter.learn(0, 0);
        assert_eq!(drafter.guess(&[0]).len(), 4);
    }
}
