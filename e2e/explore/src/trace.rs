//! What happened in a run, as one number: the same seed has to give the same one. Whoever looks for the
//! first difference between two runs keeps the lines.

use std::fmt::Write;

use crate::draw::scrambled;

/// Everything that happened so far.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
    text: String,
}

impl Trace {
    /// An empty trace, which keeps its lines if that is wanted.
    pub fn new(keep_lines: bool) -> Self {
        Trace { lines: keep_lines.then(Vec::new), ..Trace::default() }
    }

    /// One more line.
    pub fn add(&mut self, line: std::fmt::Arguments<'_>) {
        self.text.clear();
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(line);
        self.hash = hash(self.hash, self.text.as_bytes());
        if let Some(lines) = &mut self.lines {
            lines.push(self.text.clone());
        }
    }

    /// The number of all lines so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines, where they were kept.
    pub fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}

/// A number for bytes that follow on what had the number `before`. It tells histories apart, and keeps
/// nobody from forging one.
pub fn hash(before: u64, bytes: &[u8]) -> u64 {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    bytes.chunks(8).fold(scrambled(before ^ length), |hash, chunk| {
        let mut word = [0; 8];
        word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        scrambled(hash.rotate_left(23) ^ u64::from_le_bytes(word))
    })
}

/// The first line in which two traces differ: its number and both lines.
pub fn first_difference<'a>(
    a: &'a [String],
    b: &'a [String],
) -> Option<(usize, Option<&'a String>, Option<&'a String>)> {
    let at = (0..a.len().max(b.len())).find(|&at| a.get(at) != b.get(at))?;
    Some((at, a.get(at), b.get(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(lines: &[&str]) -> Trace {
        let mut trace = Trace::new(true);
        lines.iter().for_each(|line| trace.add(format_args!("{line}")));
        trace
    }

    #[test]
    fn order_and_every_letter_count() {
        let one = traced(&["a", "bc"]).hash();
        assert_eq!(one, traced(&["a", "bc"]).hash());
        for other in [&["bc", "a"][..], &["a", "bd"], &["abc"], &["a", "bc", ""]] {
            assert_ne!(one, traced(other).hash(), "{other:?}");
        }
    }

    #[test]
    fn the_first_difference_is_found() {
        let (a, b) = (traced(&["x", "y"]).into_lines(), traced(&["x", "z", "y"]).into_lines());
        let (at, left, right) = first_difference(&a, &b).unwrap();
        assert_eq!((at, left.unwrap().as_str(), right.unwrap().as_str()), (1, "y", "z"));
        assert!(first_difference(&a, &a).is_none());
    }
}
