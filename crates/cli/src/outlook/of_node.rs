//! Everything about one node, in the shape of the answer. Readings, places and verdicts are the
//! planner's; nothing is decided here.

use jiff::Timestamp;
use rerail_core::{
    facts::{ConditionFact, Cordon, NodeFacts, Ready},
    plan::{self, Candidate, Explanation, Plan, Verdict, Wait, World},
    policy::{Mode, Policy, Trigger, TypePattern},
    priority,
    run::Run,
    step::Step,
    trigger::{self, Reading},
};

use super::{
    answer, moment, of_plan,
    survey::Survey,
    view::{
        ConditionView, GateView, HistoryView, LastRunView, NodeFactsView, NodeView, PairView,
        TriggerView, Why,
    },
};
use crate::CommandError;

/// The answer of `rerail explain node NAME`.
pub fn view(survey: &Survey, name: &str) -> Result<NodeView, CommandError> {
    let world = &survey.world;
    let Some(node) = world.node(name) else { return Err(unknown(world, name)) };
    let plan = plan::plan(world);
    let pairs: Vec<_> =
        world.policies.values().map(|policy| pair(survey, &plan, policy, node)).collect();
    let begun = |run: &&Run| run.node_uid == node.uid && run.step != Step::Pending;
    let run = world.open_runs.iter().find(begun).map(|run| of_plan::run_view(survey, run));
    let answer = answer::of(node, run.as_ref(), &pairs, &survey.dial);
    let mut frame = survey.frame();
    frame.notes.extend(hangs_on_first_sight(&pairs));
    Ok(NodeView {
        frame,
        answer: survey.when(answer.sentence),
        state: answer.state.to_owned(),
        earliest_time: answer.earliest,
        needs: answer.needs,
        node: facts(world, node),
        run,
        history: history(node),
        policies: pairs,
    })
}

fn unknown(world: &World, name: &str) -> CommandError {
    let mut near: Vec<_> = world
        .nodes
        .keys()
        .map(|known| (strsim::normalized_levenshtein(known, name), known))
        .filter(|(likeness, known)| *likeness > 0.6 || known.starts_with(name))
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let near = near.into_iter().take(5).map(|(_, known)| known.clone()).collect::<Vec<_>>();
    let hint = match near.as_slice() {
        [] => "`kubectl get nodes` lists them".to_owned(),
        near => format!("did you mean {}?", near.join(", ")),
    };
    CommandError::NoNode { node: name.to_owned(), hint }
}

/// How long a condition has lasted is known only to who watched it. Said where the answer hangs on it.
fn hangs_on_first_sight(pairs: &[PairView]) -> Option<String> {
    let pending = |trigger: &TriggerView| trigger.reading == "Pending";
    let aged = |pair: &PairView| pair.priority != pair.effective_priority;
    let found = pairs.iter().any(|pair| aged(pair) || pair.triggers.iter().any(pending));
    found.then(|| of_plan::FIRST_SIGHT.to_owned())
}

fn facts(world: &World, node: &NodeFacts) -> NodeFactsView {
    let ready = node.conditions.get("Ready");
    let domain = of_plan::domain_of(world, node);
    NodeFactsView {
        name: node.name.clone(),
        uid: node.uid.clone(),
        ready: match node.ready {
            Ready::True => "True",
            Ready::False => "False",
            Ready::Unknown => "Unknown",
        }
        .to_owned(),
        ready_since: ready.map(|ready| ready.status_since),
        boot_id: node.boot_id.clone(),
        cordon: cordon(world, node),
        hold: node.hold,
        ignore: node.ignore,
        control_plane: node.control_plane,
        deleting: node.deleting,
        out_of_service: node.out_of_service,
        claimed_by: node.claim.clone(),
        domain_labelled: !domain.is_unlabelled(),
        domain: domain.to_string(),
        conditions: node.conditions.values().map(condition).collect(),
    }
}

fn condition(condition: &ConditionFact) -> ConditionView {
    ConditionView {
        condition_type: condition.condition_type().to_owned(),
        status: condition.status().to_owned(),
        reason: condition.reason.to_string(),
        message: condition.message.to_string(),
        since: condition.status_since,
        heartbeat_time: condition.evidence.last_heartbeat_time,
    }
}

fn cordon(world: &World, node: &NodeFacts) -> Option<String> {
    let uid = node.cordoned_by.as_deref().unwrap_or_default();
    let of_run = world.open_runs.iter().find(|run| run.uid == uid && !uid.is_empty());
    let run = match of_run {
        Some(run) => format!("run {}", run.name),
        None => format!("a run that is gone (UID {uid})"),
    };
    match node.cordon(uid) {
        Cordon::None => None,
        Cordon::Ours => Some(format!("by {run}")),
        Cordon::OursTakenOver => Some(format!("by {run}, then cordoned again by somebody else")),
        Cordon::OursLifted => Some(format!("by {run}, and lifted by somebody else")),
        Cordon::Other => Some("by somebody else: a person, or another controller".to_owned()),
        Cordon::OtherRun => Some(format!("by {run}")),
    }
}

fn history(node: &NodeFacts) -> HistoryView {
    let memory = &node.last_remediation;
    HistoryView {
        attempts: memory.attempts.clone(),
        roll_backs: memory.roll_backs,
        last: memory.last.as_ref().map(|last| LastRunView {
            name: last.name.clone(),
            result: last.result.clone(),
            reason: last.reason.clone(),
            end_time: last.end_time,
        }),
    }
}

fn pair(survey: &Survey, plan: &Plan, policy: &Policy, node: &NodeFacts) -> PairView {
    let world = &survey.world;
    let selected = policy.selector.matches(&node.labels);
    let explained = plan::explain(world, &node.name, &policy.name);
    let candidate = explained.candidate.as_ref();
    let order = plan.report.iter().filter(|pair| competes(world, policy, &pair.policy));
    let place = order.into_iter().position(|pair| is_pair(policy, node, &pair.node, &pair.policy));
    let ahead = look_ahead(world, policy, node, explained.wait.as_ref());
    let budgets = candidate.map(|candidate| of_plan::budgets_of_pair(world, plan, candidate));
    PairView {
        policy: policy.name.clone(),
        mode: of_plan::mode(policy).to_owned(),
        suspended: policy.suspended,
        previewed: survey.previewed.contains(&policy.name),
        selected,
        triggers: if selected { triggers(world, policy, node) } else { Vec::new() },
        priority: candidate.map(|candidate| candidate.priority.0),
        effective_priority: candidate.map(|candidate| candidate.effective.0),
        causes: candidate.map(causes).unwrap_or_default(),
        place: candidate.and(place).map(|index| index.saturating_add(1)),
        wait: explained.wait.as_ref().map(|wait| answer::why(wait, &node.name)),
        earliest_time: ahead.starts,
        then: ahead.then,
        gates: gates(&explained, &node.name),
        budgets: budgets.unwrap_or_default(),
    }
}

/// What becomes of a pair by time alone.
#[derive(Default)]
struct Ahead {
    starts: Option<Timestamp>,
    then: Vec<Why>,
}

/// How often the planner is asked about a later moment: each time something may stand in the way that
/// ends by itself, too.
const MOMENTS: usize = 8;

/// Asks the planner about the moments at which the wait ends by itself, until the pair starts or waits
/// for something else than time.
fn look_ahead(world: &World, policy: &Policy, node: &NodeFacts, wait: Option<&Wait>) -> Ahead {
    let mut ahead = Ahead::default();
    let ends = |wait: &Wait| wait.recheck_at.filter(|_| of_plan::ends_by_itself(wait.reason));
    let mut next = wait.and_then(ends);
    for _ in 0..MOMENTS {
        let Some(at) = next.filter(|at| *at > world.now) else { break };
        let later = moment::at(world.clone(), at);
        let explained = plan::explain(&later, &node.name, &policy.name);
        let Some(wait) = &explained.wait else {
            ahead.starts = explained.candidate.map(|_| at);
            break;
        };
        ahead.then.push(answer::why(wait, &node.name));
        next = ends(wait).filter(|later| *later > at);
    }
    ahead
}

fn causes(candidate: &Candidate) -> Vec<String> {
    candidate.causes.iter().map(|cause| cause.condition_type.clone()).collect()
}

/// Enforcing policies stand in one order; a DryRun policy shows its own.
fn competes(world: &World, policy: &Policy, other: &str) -> bool {
    match policy.mode {
        Mode::DryRun => other == policy.name,
        Mode::Enforce => world.policies.get(other).is_some_and(|p| p.mode == Mode::Enforce),
    }
}

fn is_pair(policy: &Policy, node: &NodeFacts, on: &str, of: &str) -> bool {
    on == node.name && of == policy.name
}

fn gates(explained: &Explanation, node: &str) -> Vec<GateView> {
    let gates = explained.gates.iter().map(|gate| GateView {
        gate: gate.gate.to_owned(),
        verdict: match &gate.verdict {
            Verdict::Pass => "Pass",
            Verdict::Wait(_) => "Wait",
            Verdict::Refuse(_) => "Refuse",
        }
        .to_owned(),
        why: gate.verdict.wait().map(|wait| answer::why(wait, node)),
    });
    gates.collect()
}

fn triggers(world: &World, policy: &Policy, node: &NodeFacts) -> Vec<TriggerView> {
    let all = &policy.contract.triggers;
    let mut found: Vec<_> = trigger::matches(all, node, world.now)
        .map(|found| {
            (found.index, reading(policy, node, found.trigger, found.condition, found.reading))
        })
        .collect();
    for (index, trigger) in all.iter().enumerate() {
        if !found.iter().any(|(known, _)| *known == index) {
            found.push((index, absent(trigger)));
        }
    }
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, view)| view).collect()
}

fn absent(trigger: &Trigger) -> TriggerView {
    TriggerView {
        pattern: pattern(trigger),
        condition_type: None,
        status: None,
        reading: "Absent".to_owned(),
        until: None,
        since: None,
        heartbeat_time: None,
        priority: None,
        message: None,
    }
}

fn reading(
    policy: &Policy,
    node: &NodeFacts,
    trigger: &Trigger,
    condition: &ConditionFact,
    reading: Reading,
) -> TriggerView {
    let new = trigger::is_new(condition, &node.last_remediation.evidence);
    let (word, until) = match reading {
        Reading::True if new => ("True", None),
        Reading::True => ("NotReportedAnew", None),
        Reading::Pending { until } => ("Pending", Some(until)),
        Reading::Unknown => ("Unknown", None),
        Reading::Clear => ("Clear", None),
    };
    let asks = !matches!(reading, Reading::Clear);
    TriggerView {
        condition_type: Some(condition.condition_type().to_owned()),
        status: Some(condition.status().to_owned()),
        reading: word.to_owned(),
        until,
        since: Some(condition.status_since),
        heartbeat_time: condition.evidence.last_heartbeat_time,
        priority: asks.then(|| priority::priority(&condition.message, policy.priority).0),
        message: Some(condition.message.to_string()),
        ..absent(trigger)
    }
}

/// A trigger as its policy writes it.
fn pattern(trigger: &Trigger) -> String {
    match &trigger.condition_type {
        TypePattern::Exact(exact) => exact.clone(),
        TypePattern::Prefix(prefix) => format!("{prefix}*"),
    }
}
