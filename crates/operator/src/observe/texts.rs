//! Texts that many nodes have in common, kept once: labels, and what conditions say.

use std::{collections::BTreeSet, sync::Arc};

/// Below this many texts nobody looks for ones that are not used any more.
const FEW: usize = 1024;

/// The texts in use. One that nobody else has any more goes before their number doubles, so that this
/// is never larger than twice what the nodes have, whatever a kubelet writes in the course of time.
#[derive(Debug, Default)]
pub struct Texts {
    known: BTreeSet<Arc<str>>,
    /// How many there may be before unused ones are looked for.
    room: usize,
}

impl Texts {
    /// The one copy of a text.
    pub fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        if self.known.len() >= self.room.max(FEW) {
            self.drop_unused();
        }
        let new: Arc<str> = text.into();
        self.known.insert(new.clone());
        new
    }

    /// Forgets what nobody else has.
    pub fn drop_unused(&mut self) {
        self.known.retain(|text| Arc::strong_count(text) > 1);
        self.room = self.known.len() * 2;
    }

    /// How many there are.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one() {
        let mut texts = Texts::default();
        let (a, b) = (texts.get("pool=a"), texts.get("pool=a"));
        assert!(Arc::ptr_eq(&a, &b) && !Arc::ptr_eq(&a, &texts.get("pool=b")));
    }

    #[test]
    fn what_nobody_uses_any_more_goes_by_itself() {
        let mut texts = Texts::default();
        let kept: Vec<_> = (0..100).map(|number| texts.get(&format!("kept {number}"))).collect();
        for number in 0..100_000 {
            drop(texts.get(&format!("once {number}")));
            assert!(texts.count() <= FEW, "{}", texts.count());
        }
        texts.drop_unused();
        assert_eq!(texts.count(), kept.len());
        assert!(kept.iter().all(|text| Arc::ptr_eq(text, &texts.get(text))));
        drop(kept);
        texts.drop_unused();
        assert_eq!(texts.count(), 0);
    }

    #[test]
    fn there_is_room_for_as_many_as_there_are() {
        let mut texts = Texts::default();
        let kept: Vec<_> = (0..10 * FEW).map(|number| texts.get(&number.to_string())).collect();
        assert_eq!(texts.count(), kept.len());
    }
}
