//! The turns of the candidates, one after the other.

use super::*;

/// One round of turns: the real one, or that of one DryRun policy.
pub(super) struct Round<'a> {
    slow: &'a Slow<'a>,
    /// Policies whose budgets count.
    policies: Vec<&'a Policy>,
    holds: Vec<Holds>,
    admitted: Vec<Wants>,
    pub(super) closed: BTreeMap<Domain, String>,
    pub(super) reserved: Vec<(String, Domain, String)>,
}

impl<'a> Round<'a> {
    pub(super) fn new(slow: &'a Slow<'a>, dry: Option<&str>) -> Self {
        let counts = |p: &&Policy| p.mode == Mode::Enforce || dry == Some(p.name.as_str());
        Round {
            slow,
            policies: slow.world.policies.values().filter(counts).collect(),
            holds: slow.holds.clone(),
            admitted: Vec::new(),
            closed: BTreeMap::new(),
            reserved: Vec::new(),
        }
    }

    pub(super) fn decide(&mut self, wants: &[Wants]) -> Vec<(Wants, Option<WaitReason>)> {
        let waiting: Vec<_> = wants.iter().filter(|w| self.alone(w).is_none()).cloned().collect();
        for want in &waiting {
            self.close_for(want, &waiting);
        }
        let mut said = Vec::new();
        for want in wants {
            let taken = self.admitted.iter().any(|w| w.node == want.node);
            let reason = taken
                .then_some(WaitReason::ActiveRun)
                .or_else(|| self.alone(want))
                .or_else(|| self.domain(want))
                .or_else(|| (!self.room(want, &self.holds)).then_some(WaitReason::BudgetExhausted))
                .or_else(|| self.pace(want).then_some(WaitReason::StartsExhausted));
            if reason.is_none() {
                self.admitted.push(want.clone());
                self.holds.push(Holds {
                    node: want.node.clone(),
                    policy: Some(want.policy.clone()),
                    domain: want.domain.clone(),
                });
            }
            said.push((want.clone(), reason));
        }
        said
    }

    fn alone(&self, want: &Wants) -> Option<WaitReason> {
        let world = self.slow.world;
        let (policy, node) = (&world.policies[&want.policy], &world.nodes[&want.node]);
        let paused = world.pauses.as_ref().is_none_or(|pauses| {
            pauses.0.iter().any(|pause| {
                let about = match &pause.scope {
                    PauseScope::All => true,
                    PauseScope::Policy(name) => *name == policy.name,
                    PauseScope::Node(name) => *name == node.name,
                };
                about && pause.until.is_none_or(|until| until > world.now)
            })
        });
        let showing: Vec<&NodeFacts> =
            world.nodes.values().map(|n| &**n).filter(|n| in_scope(policy, n)).collect();
        let total = showing.len();
        let down = showing.iter().filter(|node| self.slow.down(node)).count();
        let unhealthy = breaker::unhealthy(policy, total, down).is_some();
        let domains: BTreeSet<_> = showing.iter().map(|n| domain_of(world, &n.name)).collect();
        let members = breaker::Members { total, showing, in_several_domains: domains.len() > 1 };
        let storms = breaker::storms(world, policy, &members);
        let stormy = |kind: &String| {
            let mine = self.admitted.iter().filter(|w| w.policy == policy.name);
            let before = mine.filter(|w| w.types.contains(kind)).count();
            storms.verdict(kind, before as u32).is_some()
        };
        let rules = [
            (paused, WaitReason::Paused),
            (world.clock_skew.is_some(), WaitReason::ClockSkew),
            (world.out_of_date.is_some(), WaitReason::OutOfDate),
            (world.config.is_none(), WaitReason::NotConfigured),
            (self.slow.melts(), WaitReason::Meltdown),
            (self.cold(policy), WaitReason::WarmingUp),
            (unhealthy, WaitReason::Unhealthy),
            (!want.types.is_empty() && want.types.iter().all(stormy), WaitReason::Storm),
            (node.hold, WaitReason::HoldLabel),
            (self.exhausted(policy, node, want), WaitReason::AttemptsExhausted),
            (self.rests(policy, node, want), WaitReason::Backoff),
        ];
        rules.into_iter().find(|(holds, _)| *holds).map(|(_, reason)| reason)
    }

    fn cold(&self, policy: &Policy) -> bool {
        let world = self.slow.world;
        let warm = world.started.checked_add(secs(120)).unwrap();
        let silent = world.sources.iter().filter(|source| !source.synced);
        let fits = |source: &Source| {
            // These tests know no other condition types.
            let kinds = ["Sick", "SickToo", "Bad"].iter().filter(|k| k.starts_with(&source.prefix));
            let mut kinds = kinds.copied();
            kinds.any(|k| policy.contract.triggers.iter().any(|t| t.condition_type.matches(k)))
        };
        world.now < warm && silent.into_iter().any(fits)
    }

    fn exhausted(&self, policy: &Policy, node: &NodeFacts, want: &Wants) -> bool {
        let world = self.slow.world;
        let runs = world.open_runs.iter().filter(|run| want.run.as_ref() == Some(&run.name));
        let mut times: BTreeSet<i64> =
            runs.flat_map(|r| &r.attempt_times).map(|t| t.as_second()).collect();
        let closed: Vec<i64> =
            node.last_remediation.attempts.iter().map(|t| t.as_second()).collect();
        times.retain(|time| !closed.contains(time));
        let opened = world.now.as_second() - policy.contract.attempts.per.as_secs();
        let recent = closed.iter().chain(&times).filter(|time| **time > opened).count();
        recent >= policy.contract.attempts.max as usize
    }

    fn rests(&self, policy: &Policy, node: &NodeFacts, want: &Wants) -> bool {
        let memory = &node.last_remediation;
        let Some(last) = memory.last.as_ref().filter(|last| last.result != "Succeeded") else {
            return false;
        };
        let base = policy.contract.attempts.backoff.as_secs();
        let mut rest = base;
        let anew =
            !want.sinces.is_empty() && want.sinces.iter().all(|since| *since > last.end_time);
        for _ in 1..if anew { 1 } else { memory.roll_backs } {
            rest = (rest * 2).min((6 * 3600).max(base));
        }
        last.end_time.as_second() + rest > self.slow.world.now.as_second()
    }

    fn pace(&self, want: &Wants) -> bool {
        let world = self.slow.world;
        let starts = &world.policies[&want.policy].budget.max_starts;
        let recent = world.ledger.starts.iter().filter(|start| {
            let age = world.now.as_second() - start.time.as_second();
            start.policy == want.policy && age < starts.per.as_secs()
        });
        let now = self.admitted.iter().filter(|w| w.policy == want.policy).count();
        recent.count() + now >= starts.count as usize
    }

    /// Room in every scope, with these slots.
    fn room(&self, want: &Wants, holds: &[Holds]) -> bool {
        let world = self.slow.world;
        let Some(config) = &world.config else { return false };
        let node = &world.nodes[&want.node];
        // Nodes whose slots are taken away count as free of trouble.
        let gone = |name: &str| {
            self.holds.iter().any(|slot| slot.node == name) && !holds.iter().any(|s| s.node == name)
        };
        let fits = |limit: usize, slots: BTreeSet<&str>, others: BTreeSet<&str>| match out(node) {
            true => slots.len() < limit,
            false => slots.union(&others).count() < limit,
        };
        let all = || world.nodes.values().map(|node| &**node);
        let broken = || all().filter(|node| out(node) && !gone(&node.name));
        let slots = || holds.iter();
        let cluster = allowed(config.max_unavailable, world.nodes.len(), config.min_floor);
        let mut fit = fits(
            cluster,
            slots().map(|slot| slot.node.as_str()).collect(),
            broken().map(|node| node.name.as_str()).collect(),
        );
        for policy in self.policies.iter().filter(|p| p.name == want.policy || in_scope(p, node)) {
            let of_policy = |slot: &&Holds| {
                let selected = world.nodes.get(&slot.node).is_some_and(|n| in_scope(policy, n));
                selected || slot.policy.as_ref() == Some(&policy.name)
            };
            let limit = policy.budget.max_unavailable;
            let total = all().filter(|node| in_scope(policy, node)).count();
            fit &= fits(
                allowed(limit, total, policy.budget.min_floor),
                slots().filter(of_policy).map(|slot| slot.node.as_str()).collect(),
                broken().filter(|n| in_scope(policy, n)).map(|n| n.name.as_str()).collect(),
            );
            for domain in BTreeSet::from([want.domain.clone(), domain_of(world, &want.node)]) {
                if domain.0.is_empty() {
                    continue;
                }
                let here =
                    |name: &str| world.nodes.contains_key(name) && domain_of(world, name) == domain;
                let in_domain = |slot: &&Holds| slot.domain == domain || here(&slot.node);
                let member = |node: &&NodeFacts| in_scope(policy, node) && here(&node.name);
                fit &= fits(
                    allowed(
                        policy.budget.max_unavailable_per_domain,
                        all().filter(member).count(),
                        policy.budget.min_floor,
                    ),
                    slots().filter(of_policy).filter(in_domain).map(|s| s.node.as_str()).collect(),
                    broken().filter(member).map(|n| n.name.as_str()).collect(),
                );
            }
        }
        fit
    }

    fn open(&self, holds: &[Holds], policy: Option<&str>) -> BTreeSet<Domain> {
        let of = holds.iter().filter(|slot| policy.is_none() || slot.policy.as_deref() == policy);
        of.map(|slot| slot.domain.clone()).filter(|domain| !domain.0.is_empty()).collect()
    }

    fn most(&self, want: &Wants, own: bool) -> usize {
        let world = self.slow.world;
        match own {
            true => world.policies[&want.policy].budget.max_domains as usize,
            false => world.config.as_ref().unwrap().max_domains as usize,
        }
    }

    fn lonely(domain: &Domain) -> bool {
        domain.0.iter().any(|label| label.key == "metadata.name")
    }

    /// Before anything is admitted: a place for this candidate?
    fn close_for(&mut self, want: &Wants, waiting: &[Wants]) {
        let policy = Some(want.policy.as_str());
        let here = self.reserved.iter().any(|(p, d, _)| (p, d) == (&want.policy, &want.domain));
        if want.domain.0.is_empty()
            || here
            || self.closed.contains_key(&want.domain)
            || self.open(&self.holds, policy).contains(&want.domain)
            || self.pace(want)
        {
            return;
        }
        let reserve = (want.policy.clone(), want.domain.clone(), want.node.clone());
        if self.place(want, &self.holds) {
            if self.alone_without_labels(want, &self.holds) && self.room(want, &self.holds) {
                self.reserved.push(reserve);
            }
            return;
        }
        let urgency = |domain: &Domain| {
            waiting.iter().filter(|w| w.domain == *domain).map(|w| w.effective).min()
        };
        let mut open: Vec<_> = self.open(&self.holds, None).into_iter().collect();
        open.sort_by_key(|d| std::cmp::Reverse(urgency(d).map_or(u32::MAX, u32::from)));
        for victim in open {
            let less = urgency(&victim).is_none_or(|urgency| urgency > want.effective);
            if !less || self.closed.contains_key(&victim) || victim == want.domain {
                continue;
            }
            let without: Vec<_> =
                self.holds.iter().filter(|slot| slot.domain != victim).cloned().collect();
            if self.place(want, &without)
                && self.alone_without_labels(want, &without)
                && self.room(want, &without)
            {
                self.closed.insert(victim, want.node.clone());
                self.reserved.push(reserve);
                return;
            }
        }
    }

    fn place(&self, want: &Wants, holds: &[Holds]) -> bool {
        [false, true].into_iter().all(|own| {
            let policy = own.then_some(want.policy.as_str());
            let before = self.open(&self.holds, policy);
            let open = self.open(holds, policy);
            if before.contains(&want.domain) {
                return open.len() <= self.most(want, own);
            }
            let stay = open.into_iter().filter(|domain| !self.closed.contains_key(domain));
            let kept = self.reserved.iter().filter(|(p, _, _)| !own || *p == want.policy);
            let kept = kept.map(|(_, domain, _)| domain.clone()).filter(|d| !before.contains(d));
            let mut all: BTreeSet<Domain> = stay.chain(kept).collect();
            all.insert(want.domain.clone());
            all.len() <= self.most(want, own)
        })
    }

    fn alone_without_labels(&self, want: &Wants, holds: &[Holds]) -> bool {
        let open = self.open(holds, None);
        let reserved = self.reserved.iter().map(|(_, domain, _)| domain);
        let mut others = open.iter().chain(reserved).filter(|domain| **domain != want.domain);
        !Self::lonely(&want.domain) || !others.any(Self::lonely)
    }

    fn domain(&self, want: &Wants) -> Option<WaitReason> {
        let domain = &want.domain;
        if domain.0.is_empty() {
            return None;
        }
        if self.closed.contains_key(domain) {
            return Some(WaitReason::DomainClosed);
        }
        // Places kept for those that come before the first that keeps one here.
        let kept = |own: bool, open: &BTreeSet<Domain>| -> BTreeSet<Domain> {
            let mut kept = BTreeSet::new();
            for (policy, reserved, _) in &self.reserved {
                if reserved == domain && (!own || *policy == want.policy) {
                    break;
                }
                if reserved != domain
                    && (!own || *policy == want.policy)
                    && !open.contains(reserved)
                {
                    kept.insert(reserved.clone());
                }
            }
            kept
        };
        let open = self.open(&self.holds, None);
        let before = kept(false, &open);
        let mut others = open.iter().chain(&before).filter(|other| *other != domain);
        if Self::lonely(domain) && others.any(Self::lonely) {
            return Some(WaitReason::MissingTopologyLabels);
        }
        let own_open = self.open(&self.holds, Some(&want.policy));
        let own_before = kept(true, &own_open);
        let fits = |open: &BTreeSet<Domain>, kept: &BTreeSet<Domain>, most: usize| {
            let places = if open.contains(domain) { 0 } else { kept.len() + 1 };
            open.len() + places <= most
        };
        let free = fits(&open, &before, self.most(want, false))
            && fits(&own_open, &own_before, self.most(want, true));
        (!free).then_some(WaitReason::OtherDomainsOpen)
    }
}
