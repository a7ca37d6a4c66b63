//! Status writes that may still land (protocol R11, SAFE-3).

use crate::mutant;

/// Whether a write of a run's status may be on its way, and on which version of the run it was built: only as
/// long as the run has that version it can land.
///
/// No effect is performed while one may: it could land afterwards, and the effect would stand in a step that
/// the run has left (finding W15).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Doubt<Version> {
    /// Every write got its answer.
    #[default]
    Nothing,
    /// One got none; it was built on this version.
    On(Version),
    /// Nobody knows: whoever wrote before broke down.
    Unknown,
}

impl<Version: PartialEq> Doubt<Version> {
    /// A write that was built on this version got no answer. Where nobody knows what others wrote, that stays so.
    pub fn add(&mut self, version: Version) {
        if *self != Doubt::Unknown {
            *self = Doubt::On(version);
        }
    }

    /// Whether a write may land on a run of this version. It cannot after the version was moved by any other
    /// write: that is how it is overtaken.
    pub fn may_land_on(&self, version: &Version) -> bool {
        if mutant!("doubt-not-overtaken") {
            return false;
        }
        match self {
            Doubt::Nothing => false,
            Doubt::On(doubted) => doubted == version,
            Doubt::Unknown => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_lands_on_its_own_version_only() {
        assert!(!Doubt::Nothing.may_land_on(&1));
        assert!(Doubt::On(1).may_land_on(&1));
        assert!(!Doubt::On(1).may_land_on(&2));
        assert!(Doubt::Unknown.may_land_on(&2));
        assert_eq!(Doubt::<u32>::default(), Doubt::Nothing);
    }

    #[test]
    fn what_nobody_knows_is_not_forgotten_for_a_write_of_our_own() {
        for (before, after) in [
            (Doubt::Nothing, Doubt::On(2)),
            (Doubt::On(1), Doubt::On(2)),
            (Doubt::Unknown, Doubt::Unknown),
        ] {
            let mut doubt = before;
            doubt.add(2);
            assert_eq!(doubt, after);
        }
    }
}
