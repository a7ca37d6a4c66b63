//! From the planner's decision to the shape of the answer. Nothing is decided here.

use std::collections::{BTreeMap, BTreeSet};

use rerail_core::{
    breaker::Storm,
    domain::Domain,
    facts::{NodeFacts, PauseScope},
    plan::{Candidate, DomainReport, Plan, Scope, ScopeReport, Wait, WaitReason, World},
    policy::{Mode, Policy},
    run::Run,
    step::Step,
};

use super::{
    survey::Survey,
    view::{
        BudgetView, DomainView, PlanView, PolicyView, RunView, Start, StormView, Waiting, Why,
        WouldStart,
    },
    words::{count, some},
};

/// The answer of `rerail plan`.
pub fn view(survey: &Survey, plan: &Plan) -> PlanView {
    let world = &survey.world;
    let waiting: Vec<_> = plan
        .report
        .iter()
        .filter_map(|pair| {
            let why = why(pair.wait.as_ref()?);
            let priority = pair.priority.map(|priority| priority.0);
            Some(Waiting { node: pair.node.clone(), policy: pair.policy.clone(), priority, why })
        })
        .collect();
    let runs: Vec<_> = world.open_runs.iter().map(|run| run_view(survey, run)).collect();
    let starts: Vec<_> = plan.admit.iter().map(start).collect();
    let would_start: Vec<_> = plan
        .would_start
        .iter()
        .map(|(policy, candidates)| WouldStart {
            policy: policy.clone(),
            starts: candidates.iter().map(start).collect(),
        })
        .collect();
    let stops = stops(world, plan);
    let mut frame = survey.frame();
    frame.notes.extend(hangs_on_first_sight(plan));
    PlanView {
        frame,
        summary: survey.when(summary(&stops, &starts, &would_start, &waiting, &runs)),
        stops,
        starts,
        would_start,
        waiting,
        runs,
        domains: plan.domains.iter().map(|report| domain_view(world, report)).collect(),
        budgets: plan.scopes.iter().map(|scope| budget_view(world, plan, scope)).collect(),
        storms: storms(plan),
        policies: world.policies.values().map(|policy| policy_view(survey, plan, policy)).collect(),
        recheck_time: plan.recheck_at,
    }
}

fn summary(
    stops: &[Why],
    starts: &[Start],
    would: &[WouldStart],
    waiting: &[Waiting],
    runs: &[RunView],
) -> String {
    let starting = match (starts, stops.first()) {
        ([], Some(stop)) => format!("Nothing starts: {}", stop.message.trim_end_matches('.')),
        ([], None) => "Nothing starts now".to_owned(),
        ([only], _) => format!("Node {} starts now", only.node),
        ([first, ..], _) => {
            format!("{} start now, {} first", count(starts.len(), "node"), first.node)
        }
    };
    let dry: usize = would.iter().map(|would| would.starts.len()).sum();
    let dry = match dry {
        0 => String::new(),
        _ => format!("; {} would start if DryRun policies enforced", count(dry, "node")),
    };
    let under_way = runs.iter().filter(|run| run.holds_slot).count();
    let held = runs.iter().filter(|run| run.step == Step::Held.name()).count();
    let held = if held == 0 { String::new() } else { format!(", {held} held") };
    format!(
        "{starting}{dry}; {}; {} under way{held}.",
        waits(waiting, runs),
        count(under_way, "run")
    )
}

/// False for a node that waits for nothing but its own run, which stands elsewhere.
pub fn queues(waiting: &Waiting, runs: &[RunView]) -> bool {
    let under_way = |run: &RunView| run.node == waiting.node && run.step != Step::Pending.name();
    waiting.why.reason != WaitReason::ActiveRun.name() || !runs.iter().any(under_way)
}

/// How many nodes wait, and what for, most frequent first.
fn waits(waiting: &[Waiting], runs: &[RunView]) -> String {
    let queue = || waiting.iter().filter(|waiting| queues(waiting, runs));
    let nodes: BTreeSet<_> = queue().map(|waiting| &waiting.node).collect();
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for waiting in queue() {
        let number = reasons.entry(&waiting.why.reason).or_default();
        *number = number.saturating_add(1);
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(reason, number)| (std::cmp::Reverse(*number), *reason));
    let names: Vec<_> =
        reasons.iter().map(|(reason, number)| format!("{reason} {number}")).collect();
    match (nodes.len(), names.as_slice()) {
        (0, _) => "no node waits".to_owned(),
        (1, _) => format!("1 node waits ({})", some(&names)),
        (number, _) => format!("{number} nodes wait ({})", some(&names)),
    }
}

/// What stops everything.
pub fn stops(world: &World, plan: &Plan) -> Vec<Why> {
    let mut stops = Vec::new();
    let mut stop = |reason: WaitReason, message: String, recheck_time| {
        let ends_by_itself = ends_by_itself(reason);
        let reason = reason.name().to_owned();
        stops.push(Why { reason, message, recheck_time, ends_by_itself, advice: None });
    };
    match &world.pauses {
        None => stop(WaitReason::Paused, rerail_core::facts::PAUSE_UNREADABLE.to_owned(), None),
        Some(pauses) => {
            for pause in &pauses.0 {
                if pause.scope == PauseScope::All && pause.lasts(world.now) {
                    stop(WaitReason::Paused, pause.text.clone(), pause.until);
                }
            }
        }
    }
    if let Some(message) = &plan.meltdown {
        stop(WaitReason::Meltdown, message.clone(), None);
    }
    // One that every candidate meets is told with its words, which are the planner's.
    for reason in [WaitReason::NotConfigured, WaitReason::ClockSkew] {
        let mut met = plan.report.iter().filter_map(|pair| pair.wait.as_ref());
        if let Some(wait) = met.find(|wait| wait.reason == reason) {
            stop(reason, wait.message.clone(), wait.recheck_at);
        }
    }
    stops
}

/// Said where an answer hangs on how long a condition has lasted: only who watched it knows.
pub const FIRST_SIGHT: &str = "how long a condition has lasted is counted from its lastTransitionTime, as by an operator \
     that has just started; one that has watched it counts from when it saw it";

fn hangs_on_first_sight(plan: &Plan) -> Option<String> {
    let pending = plan.report.iter().filter_map(|pair| pair.wait.as_ref());
    let pending = pending.filter(|wait| wait.reason == WaitReason::NotLongEnough).count();
    let starting = plan.admit.iter().chain(plan.would_start.values().flatten());
    let aged = starting.filter(|candidate| candidate.priority != candidate.effective).count();
    (pending > 0 || aged > 0).then(|| FIRST_SIGHT.to_owned())
}

fn domain_view(world: &World, report: &DomainReport) -> DomainView {
    let state = match report {
        DomainReport { closed_by: Some(_), .. } => "Closed",
        DomainReport { open: true, .. } => "Open",
        DomainReport { reserved_for: Some(_), .. } => "Reserved",
        DomainReport { .. } => "Waiting",
    };
    DomainView {
        domain: name_of(&report.domain),
        state: state.to_owned(),
        under_way: slots(world, |_, domain| *domain == report.domain),
        most_urgent: report.waiting.map(|priority| priority.0),
        closed_by: report.closed_by.clone(),
        reserved_for: report.reserved_for.clone(),
    }
}

fn name_of(domain: &Domain) -> String {
    if domain.is_none() { "(no domains)".to_owned() } else { domain.to_string() }
}

/// The failure domain of a node's labels.
pub fn domain_of(world: &World, node: &NodeFacts) -> Domain {
    let keys = world.config.as_ref().map(|config| config.topology_keys.as_slice());
    Domain::of(&node.name, &node.labels, keys.unwrap_or_default())
}

/// The nodes of runs under way, by policy and domain.
fn slots(world: &World, counts: impl Fn(&Run, &Domain) -> bool) -> Vec<String> {
    let holds = |run: &&Run| run.holds_slot(world.node(&run.node_name), world.now);
    let of = |run: &Run| match (&run.domain, world.node(&run.node_name)) {
        (Some(frozen), _) => frozen.clone(),
        (None, Some(node)) => domain_of(world, node),
        (None, None) => Domain::default(),
    };
    let all = world.open_runs.iter().filter(holds).filter(|run| counts(run, &of(run)));
    let mut names: Vec<_> = all.map(|run| run.node_name.clone()).collect();
    names.sort();
    names.dedup();
    names
}

/// True for the scope of a policy that starts nothing.
fn is_dry(world: &World, scope: &Scope) -> bool {
    let (Scope::Policy(name) | Scope::PolicyDomain(name, _)) = scope else { return false };
    world.policies.get(name).is_some_and(|policy| policy.mode == Mode::DryRun)
}

/// Who counts in a budget; how many is the planner's.
fn budget_view(world: &World, plan: &Plan, report: &ScopeReport) -> BudgetView {
    let dry = is_dry(world, &report.scope);
    let starting: Vec<_> = plan
        .admit
        .iter()
        .filter(|_| !dry)
        .filter(|candidate| match &report.scope {
            Scope::Cluster => true,
            Scope::Policy(policy) => selects(world, policy, &candidate.node),
            Scope::PolicyDomain(policy, domain) => {
                selects(world, policy, &candidate.node) && candidate.domain == *domain
            }
        })
        .map(|candidate| candidate.node.clone())
        .collect();
    let under_way = slots(world, |run, of| match &report.scope {
        Scope::Cluster => true,
        Scope::Policy(policy) => selects(world, policy, &run.node_name),
        Scope::PolicyDomain(policy, domain) => {
            selects(world, policy, &run.node_name) && of == domain
        }
    });
    let out = world.nodes.values().filter(|node| {
        let out = !node.in_service() || node.unschedulable || node.deleting;
        let other = !starting.contains(&node.name) && !under_way.contains(&node.name);
        out && other
            && match &report.scope {
                Scope::Cluster => true,
                Scope::Policy(policy) => selects(world, policy, &node.name),
                Scope::PolicyDomain(policy, domain) => {
                    selects(world, policy, &node.name) && domain_of(world, node) == *domain
                }
            }
    });
    BudgetView {
        scope: report.scope.to_string(),
        limit: report.limit,
        used: if dry { report.now } else { report.used },
        blocked: report.blocked,
        out: out.map(|node| node.name.clone()).collect(),
        starting,
        under_way,
    }
}

fn selects(world: &World, policy: &str, node: &str) -> bool {
    let policy = world.policies.get(policy);
    policy
        .zip(world.node(node))
        .is_some_and(|(p, node)| !node.control_plane && p.selector.matches(&node.labels))
}

/// The budgets that a candidate counts in.
pub fn budgets_of_pair(world: &World, plan: &Plan, candidate: &Candidate) -> Vec<BudgetView> {
    let counts = |report: &&ScopeReport| match &report.scope {
        Scope::Cluster => true,
        Scope::Policy(policy) => selects(world, policy, &candidate.node),
        Scope::PolicyDomain(policy, domain) => {
            selects(world, policy, &candidate.node) && *domain == candidate.domain
        }
    };
    plan.scopes.iter().filter(counts).map(|scope| budget_view(world, plan, scope)).collect()
}

fn storms(plan: &Plan) -> Vec<StormView> {
    let all = plan.storms.iter().flat_map(|(policy, storms)| {
        storms.iter().map(move |(condition_type, storm)| {
            let (state, since, allowed) = match storm {
                Storm::Open { since } => ("Open", *since, None),
                Storm::Probing { since } => ("Probing", *since, Some(1)),
                Storm::Ramp { allowed, since } => ("Ramp", *since, Some(*allowed)),
            };
            let (policy, condition_type) = (policy.clone(), condition_type.clone());
            StormView { policy, condition_type, state: state.to_owned(), since, allowed }
        })
    });
    all.collect()
}

fn start(candidate: &Candidate) -> Start {
    Start {
        node: candidate.node.clone(),
        policy: candidate.policy.clone(),
        priority: candidate.priority.0,
        effective_priority: candidate.effective.0,
        since: candidate.since,
        domain: candidate.domain.to_string(),
        causes: candidate.causes.iter().map(|cause| cause.condition_type.clone()).collect(),
        run: candidate.run.clone(),
    }
}

/// What passes with time. Other reasons have a time, too: the next at which the order may be another.
pub fn ends_by_itself(reason: WaitReason) -> bool {
    matches!(
        reason,
        WaitReason::NotLongEnough
            | WaitReason::Paused
            | WaitReason::Backoff
            | WaitReason::AttemptsExhausted
            | WaitReason::StartsExhausted
            | WaitReason::WarmingUp
    )
}

/// A wait in words.
pub fn why(wait: &Wait) -> Why {
    Why {
        reason: wait.reason.name().to_owned(),
        message: wait.message.clone(),
        recheck_time: wait.recheck_at,
        ends_by_itself: ends_by_itself(wait.reason),
        advice: None,
    }
}

/// A run that has not ended.
pub fn run_view(survey: &Survey, run: &Run) -> RunView {
    let world = &survey.world;
    let kept = || (run.reason.name().to_owned(), run.message.clone());
    let (reason, message) = survey.said.get(&run.name).cloned().unwrap_or_else(kept);
    RunView {
        name: run.name.clone(),
        node: run.node_name.clone(),
        policy: run.policy.clone(),
        step: run.step.name().to_owned(),
        since: run.since,
        deadline: run.deadline,
        reason,
        message: match &run.frozen {
            Some(frozen) => format!("frozen: {}", frozen.message),
            None => message,
        },
        holds_slot: run.holds_slot(world.node(&run.node_name), world.now),
        frozen: run.frozen.is_some(),
        attempts: run.attempt,
        domain: run.domain.as_ref().map(ToString::to_string),
    }
}

/// The mode as policies write it.
pub fn mode(policy: &Policy) -> &'static str {
    match policy.mode {
        Mode::DryRun => "DryRun",
        Mode::Enforce => "Enforce",
    }
}

fn policy_view(survey: &Survey, plan: &Plan, policy: &Policy) -> PolicyView {
    PolicyView {
        name: policy.name.clone(),
        mode: mode(policy).to_owned(),
        suspended: policy.suspended,
        previewed: survey.previewed.contains(&policy.name),
        matched: plan.matched.get(&policy.name).copied().unwrap_or_default(),
    }
}
