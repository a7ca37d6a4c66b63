//! Which requests meet a fault, and how often.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{Asked, Fault};

/// Which requests, and how many of them. Everything that is not said fits every request.
#[derive(Debug, Clone)]
pub struct Rule {
    verb: String,
    resource: String,
    name: Option<String>,
    body: Option<String>,
    behind: Option<Arc<Injected>>,
    skip: usize,
    times: Option<usize>,
}

impl Rule {
    /// The next request with this verb on this resource (`pods/eviction` with its subresource).
    pub fn on(verb: &str, resource: &str) -> Self {
        Rule {
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            name: None,
            body: None,
            behind: None,
            skip: 0,
            times: Some(1),
        }
    }

    /// Only objects whose name has this in it.
    #[must_use]
    pub fn named(mut self, part: &str) -> Self {
        self.name = Some(part.to_owned());
        self
    }

    /// Only requests whose body has this in it.
    #[must_use]
    pub fn saying(mut self, part: &str) -> Self {
        self.body = Some(part.to_owned());
        self
    }

    /// Only requests that come after this other rule was met.
    #[must_use]
    pub fn behind(mut self, other: &Arc<Injected>) -> Self {
        self.behind = Some(other.clone());
        self
    }

    /// Lets this many such requests pass before.
    #[must_use]
    pub fn after(mut self, passing: usize) -> Self {
        self.skip = passing;
        self
    }

    /// This many requests instead of one.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    /// Every such request, until the rule is lifted.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    fn fits(&self, asked: &Asked) -> bool {
        let said = |part: &String| String::from_utf8_lossy(&asked.body).contains(part);
        self.verb == asked.verb
            && self.resource == asked.resource
            && self.name.as_ref().is_none_or(|part| asked.name.contains(part))
            && self.body.as_ref().is_none_or(said)
            && self.behind.as_ref().is_none_or(|other| other.met() > 0)
    }
}

#[derive(Debug, Default)]
struct Count {
    passed: usize,
    met: usize,
    lifted: bool,
}

/// A rule in force, with its fault and its count.
#[derive(Debug)]
pub struct Injected {
    rule: Rule,
    fault: Fault,
    count: Mutex<Count>,
}

impl Injected {
    pub(crate) fn new(rule: Rule, fault: Fault) -> Self {
        Injected { rule, fault, count: Mutex::default() }
    }

    /// How many requests met the fault. A test in which this is 0 has proved nothing.
    pub fn met(&self) -> usize {
        self.lock().met
    }

    /// Ends the rule.
    pub fn lift(&self) {
        self.lock().lifted = true;
    }

    /// The fault, if this request is to meet it; then it is counted.
    pub(crate) fn meets(&self, asked: &Asked) -> Option<Fault> {
        let mut count = self.lock();
        let used_up = self.rule.times.is_some_and(|times| count.met >= times);
        if count.lifted || used_up || !self.rule.fits(asked) {
            return None;
        }
        if count.passed < self.rule.skip {
            count.passed += 1;
            return None;
        }
        count.met += 1;
        Some(self.fault.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Display for Injected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Rule { verb, resource, name, body, .. } = &self.rule;
        write!(f, "{verb} {resource}")?;
        for part in name.iter().chain(body) {
            write!(f, " with {part:?}")?;
        }
        write!(f, ": {:?}, met {} times", self.fault, self.met())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reply;

    fn asked(method: &str, uri: &str, body: &str) -> Asked {
        Asked::new(&method.parse().unwrap(), &uri.parse().unwrap(), body.to_owned().into())
    }

    fn met(rule: Rule, requests: &[Asked]) -> Vec<bool> {
        let injected = Injected::new(rule, Fault::Instead(Reply::Closed));
        requests.iter().map(|asked| injected.meets(asked).is_some()).collect()
    }

    #[test]
    fn a_rule_is_about_verb_resource_name_and_body() {
        let requests = [
            asked("GET", "/api/v1/nodes/n1", ""),
            asked("PATCH", "/api/v1/nodes/n2", ""),
            asked("PATCH", "/api/v1/nodes/n1", "[1]"),
            asked("PATCH", "/api/v1/nodes/n1/status", "[2]"),
            asked("PATCH", "/api/v1/nodes/n1", "[2]"),
        ];
        let rule = Rule::on("patch", "nodes").named("n1").always();
        assert_eq!(met(rule.clone(), &requests), [false, false, true, false, true]);
        assert_eq!(met(rule.saying("[2]"), &requests), [false, false, false, false, true]);
    }

    #[test]
    fn a_rule_lets_some_pass_and_is_used_up() {
        let get = || asked("GET", "/api/v1/nodes/n1", "");
        let requests = [get(), get(), get(), get(), get()];
        let rule = Rule::on("get", "nodes");
        assert_eq!(met(rule.clone(), &requests), [true, false, false, false, false]);
        assert_eq!(met(rule.after(1).times(2), &requests), [false, true, true, false, false]);
    }

    #[test]
    fn a_rule_behind_another_waits_for_it() {
        let get = asked("GET", "/api/v1/nodes/n1", "");
        let closed = || Fault::Instead(Reply::Closed);
        let first = Arc::new(Injected::new(Rule::on("patch", "nodes"), closed()));
        let second = Injected::new(Rule::on("get", "nodes").behind(&first), closed());
        assert!(second.meets(&get).is_none());
        assert!(first.meets(&asked("PATCH", "/api/v1/nodes/n1", "")).is_some());
        assert!(second.meets(&get).is_some());
    }

    #[test]
    fn a_lifted_rule_meets_nothing() {
        let injected =
            Injected::new(Rule::on("get", "nodes").always(), Fault::Instead(Reply::Closed));
        injected.lift();
        assert!(injected.meets(&asked("GET", "/api/v1/nodes/n1", "")).is_none());
        assert_eq!(injected.met(), 0);
    }
}
