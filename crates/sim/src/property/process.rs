//! Operator processes: in which term each is, and what it has read.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::store::Key;

/// One process, known by the name under which its requests come.
#[derive(Debug)]
pub(super) struct Process {
    /// Its terms, each with its number and when it began.
    terms: Vec<(Timestamp, (String, i64))>,
    /// When its last write of the Lease was committed.
    pub renewed: Timestamp,
    /// It has given the Lease away.
    pub released: bool,
    pub alive: bool,
    /// When it last read, or wrote, an object by its name.
    reads: BTreeMap<(usize, Key), Timestamp>,
}

impl Default for Process {
    fn default() -> Self {
        Process {
            terms: Vec::new(),
            renewed: Timestamp::MIN,
            released: false,
            alive: true,
            reads: BTreeMap::new(),
        }
    }
}

impl Process {
    pub fn has_read(&mut self, resource: usize, key: &str, at: Timestamp) {
        match self.reads.get_mut(&(resource, key.to_owned())) {
            Some(last) => *last = at,
            None => {
                self.reads.insert((resource, key.to_owned()), at);
            }
        }
    }

    /// When it last asked how this object is, or wrote it. A list of all is somebody else's: what needs an
    /// object reads that.
    pub fn last_read(&self, resource: usize, key: &str) -> Option<Timestamp> {
        self.reads.get(&(resource, key.to_owned())).copied()
    }

    /// It is in this term from now on.
    pub fn enters(&mut self, term: (String, i64), at: Timestamp) {
        if self.term() != Some(&term) {
            self.terms.push((at, term));
        }
    }

    /// Its latest term, and the term's number.
    pub fn term(&self) -> Option<&(String, i64)> {
        self.terms.last().map(|(_, term)| term)
    }

    /// The term in which it was then: what it sent may arrive in its next one.
    pub fn term_at(&self, at: Timestamp) -> Option<&(String, i64)> {
        let then = self.terms.iter().rev().find(|(since, _)| *since <= at);
        then.or(self.terms.first()).map(|(_, term)| term)
    }

    pub fn is_in_term(&self, term: &str) -> bool {
        self.term().is_some_and(|(own, _)| own == term)
    }
}
