//! The conditions of a node, small enough to be kept for every node of a large cluster.

use super::ConditionFact;

/// Conditions, one of each type, sorted by type.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Conditions(Box<[ConditionFact]>);

impl Conditions {
    fn find(&self, condition_type: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|fact| fact.condition_type().cmp(condition_type))
    }

    /// The condition of a type.
    pub fn get(&self, condition_type: &str) -> Option<&ConditionFact> {
        self.0.get(self.find(condition_type).ok()?)
    }

    /// The condition of a type, to change it; its type must stay.
    pub fn get_mut(&mut self, condition_type: &str) -> Option<&mut ConditionFact> {
        let at = self.find(condition_type).ok()?;
        self.0.get_mut(at)
    }

    /// True if there is a condition of this type.
    pub fn contains_key(&self, condition_type: &str) -> bool {
        self.find(condition_type).is_ok()
    }

    /// Sets a condition; one of the same type goes.
    pub fn insert(&mut self, fact: ConditionFact) {
        *self = std::mem::take(self).0.into_iter().chain([fact]).collect();
    }

    /// Takes the condition of a type away.
    pub fn remove(&mut self, condition_type: &str) {
        let kept = std::mem::take(self).0.into_iter();
        *self = kept.filter(|fact| fact.condition_type() != condition_type).collect();
    }

    /// Every condition, sorted by type.
    pub fn values(&self) -> std::slice::Iter<'_, ConditionFact> {
        self.0.iter()
    }

    /// The types of the conditions, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(ConditionFact::condition_type)
    }
}

/// Of several of one type the last counts.
impl FromIterator<ConditionFact> for Conditions {
    fn from_iter<I: IntoIterator<Item = ConditionFact>>(facts: I) -> Self {
        let mut all: Vec<_> = facts.into_iter().collect();
        all.reverse();
        all.sort_by(|a, b| a.condition_type().cmp(b.condition_type()));
        all.dedup_by(|a, b| a.condition_type() == b.condition_type());
        Conditions(all.into_boxed_slice())
    }
}

/// Panics without such a condition, hence for tests only.
#[cfg(test)]
impl std::ops::Index<&str> for Conditions {
    type Output = ConditionFact;

    fn index(&self, condition_type: &str) -> &ConditionFact {
        self.get(condition_type).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use crate::remediation::tests::condition;

    use super::*;

    #[test]
    fn there_is_one_condition_of_each_type_and_the_last_counts() {
        let given = [("Ready", 1), ("Disk", 2), ("Ready", 3)];
        let mut conditions: Conditions =
            given.iter().map(|(kind, time)| condition(kind, "True", *time)).collect();
        assert_eq!(conditions.keys().collect::<Vec<_>>(), ["Disk", "Ready"]);
        assert_eq!(conditions["Ready"], condition("Ready", "True", 3));
        conditions.insert(condition("Ready", "False", 4));
        assert_eq!(conditions["Ready"].status(), "False");
        conditions.remove("Disk");
        assert!(!conditions.contains_key("Disk") && conditions.contains_key("Ready"));
        assert_eq!(conditions.values().count(), 1);
    }
}
