//! The answers about a made-up cluster, as people read them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{Timestamp, tz::TimeZone};
use rerail_api::convert::{
    node::{self, Look},
    policy,
};
use rerail_core::{
    budget::CountOrPercent,
    facts::{NodeFacts, Pause, PauseScope, Pauses},
    plan::{World, plan},
};
use serde_json::{Value, json};

use super::{
    moment, node_table, of_node, of_plan, survey::Survey, table, view::PlanView, words::Dial,
};

fn time(text: &str) -> Timestamp {
    format!("2026-03-01T{text}Z").parse().unwrap()
}

fn node(name: &str, rack: &str, since: &str, message: &str) -> NodeFacts {
    let status = if message.is_empty() { "False" } else { "True" };
    let object = json!({
        "metadata": { "name": name, "uid": format!("uid-{name}"),
            "labels": { "node-restriction.kubernetes.io/rack": rack } },
        "status": { "conditions": [
            { "type": "Ready", "status": "True", "lastTransitionTime": "2026-03-01T00:00:00Z" },
            { "type": "Sick", "status": status, "message": message,
              "lastTransitionTime": format!("2026-03-01T{since}Z") },
        ] },
    });
    let look = Look { now: time("03:00:00"), earlier: None, first_list: true };
    node::facts(&serde_json::from_value(object).unwrap(), look, &mut |text| text.into())
}

/// Three sick nodes of twelve, in two racks; one at a time.
fn world(mode: &str) -> World {
    let object: Value = json!({
        "apiVersion": "rerail.dev/v1alpha1", "kind": "RemediationPolicy",
        "metadata": { "name": "workers" },
        "spec": {
            "mode": mode,
            "nodes": { "all": true },
            "triggers": [{ "condition": { "type": "Sick", "for": "5m" } }],
            "remedies": [{ "reboot": { "method": "Command" } }],
        },
    });
    let policy = policy::policy(&serde_json::from_value(object).unwrap()).unwrap();
    let mut nodes = vec![
        node("w01", "a", "02:00:00", "[P6] too many interfaces"),
        node("w02", "a", "02:58:00", "[P1] fire"),
        node("w03", "b", "02:50:00", "[P2] disk is failing"),
    ];
    nodes.extend((4..=12).map(|n| node(&format!("w{n:02}"), "b", "00:00:00", "")));
    World {
        nodes: nodes.into_iter().map(|node| (node.name.clone(), Arc::new(node))).collect(),
        policies: [("workers".to_owned(), policy)].into(),
        ..World::empty(time("03:00:00"))
    }
}

fn survey(world: World) -> Survey {
    let dial = Dial { at: world.now, zone: TimeZone::UTC };
    let (previewed, said, notes) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
    Survey { world, read_at: time("03:00:00"), previewed, said, notes, dial }
}

fn view(world: World) -> PlanView {
    let survey = survey(world);
    of_plan::view(&survey, &plan(&survey.world))
}

fn planned(world: World) -> String {
    let survey = survey(world);
    table::plan(&of_plan::view(&survey, &plan(&survey.world)), &survey.dial)
}

fn explained(world: World, node: &str) -> String {
    let survey = survey(world);
    node_table::node(&of_node::view(&survey, node).unwrap(), &survey.dial)
}

/// The first lines, up to the first empty one.
fn head(text: &str) -> &str {
    text.split("\n\n").next().unwrap_or_default()
}

fn change(world: &mut World, node: &str, change: impl FnOnce(&mut NodeFacts)) {
    change(Arc::make_mut(world.nodes.get_mut(node).unwrap()));
}

#[test]
fn the_plan_says_who_starts_who_waits_and_how_the_budgets_stand() {
    let expected = "\
Node w03 starts now; 2 nodes wait (NotLongEnough 1, OtherDomainsOpen 1); 0 runs under way.
As of 2026-03-01 03:00:00 UTC.
! how long a condition has lasted is counted from its lastTransitionTime, as by an operator that has
  just started; one that has watched it counts from when it saw it

STARTS, IN THIS ORDER
#  NODE  PRIORITY  WAITED  DOMAIN  POLICY   CAUSE
1  w03   P2        10m     -/b     workers  Sick

WAITS
NODE  PRIORITY  REASON            AT LEAST  WHY
w01   P6        OtherDomainsOpen  -         at most 1 failure domain may be open; open: -/b
w02   -         NotLongEnough     3m        Sick is not true for long enough yet

DOMAINS
DOMAIN  STATE  UNDER WAY  MOST URGENT
-/b     Open              P2

BUDGETS
SCOPE                                 USED     BY
the cluster                           1 of 2   starting: w03
policy workers                        1 of 1   starting: w03
policy workers in failure domain -/b  1 of 10  starting: w03
policy workers in failure domain -/a  0 of 2

POLICIES
POLICY   MODE     SELECTS
workers  Enforce  12 nodes

By itself this can change at 03:03:00, in 3m.
";
    assert_eq!(planned(world("Enforce")), expected);
}

#[test]
fn a_dry_run_starts_nothing_and_shows_what_it_would_start() {
    let view = view(world("DryRun"));
    assert_eq!(view.starts, []);
    assert_eq!(view.would_start[0].starts[0].node, "w03");
    assert!(view.summary.starts_with("Nothing starts now; 1 node would start"), "{}", view.summary);
}

#[test]
fn another_moment_is_planned_for_with_what_it_takes_for_granted() {
    let text = planned(moment::at(world("Enforce"), time("03:10:00")));
    let expected = "\
At 2026-03-01 03:10:00 UTC: Node w02 starts now; 2 nodes wait (BudgetExhausted 1, OtherDomainsOpen
  1); 0 runs under way.
Planned for 2026-03-01 03:10:00 UTC, 10m from now, if
- no condition, label or cordon changes until then, and whoever reports now goes on reporting
- nothing else starts until then";
    assert_eq!(head(&text), expected);
}

#[test]
fn what_stops_everything_is_the_first_thing_that_is_said() {
    let mut paused = world("Enforce");
    let text = "paused by jane: audit".to_owned();
    paused.pauses = Some(Pauses(vec![Pause { scope: PauseScope::All, text, until: None }]));
    assert!(planned(paused).starts_with("Nothing starts: paused by jane: audit; "));
    let mut missing = world("Enforce");
    missing.config = None;
    let text = planned(missing);
    assert!(text.starts_with("Nothing starts: ") && text.contains("! NotConfigured: "), "{text}");
    assert!(text.contains("NotConfigured  -         as above"), "read once: {text}");
}

#[test]
fn a_node_that_waits_is_explained_from_the_answer_to_every_gate() {
    let expected = "\
Node w01 waits: at most 1 failure domain may be open; open: -/b (OtherDomainsOpen, policy workers).
Time alone does not start it.
As of 2026-03-01 03:00:00 UTC.

WHAT WOULD HAVE TO CHANGE
- OtherDomainsOpen: the runs in the open domains must end, or more be allowed (`maxDomains`)
- BudgetExhausted: nodes that are out must come back, or the budget be raised

NODE
Ready    True for 3h
Cordon   none
Domain   -/a
Boot ID

POLICY workers (Enforce, P6, number 2 in the order)
OtherDomainsOpen: at most 1 failure domain may be open; open: -/b
TRIGGER  CONDITION  READS  PRIORITY  FOR  REPORTED  MESSAGE
Sick     Sick True  True   P6        1h   -         [P6] too many interfaces

GATE           SAYS  UNTIL  WHY
paused         Pass
clock          Pass
recency        Pass
configuration  Pass
meltdown       Pass
warming up     Pass
breaker        Pass
hold           Pass
attempts       Pass
backoff        Pass
domain         Wait         OtherDomainsOpen: at most 1 failure domain may be open; open: -/b
budgets        Wait         BudgetExhausted: policy workers: 1 of at most 1 (10% of 12) nodes
                            unavailable: w03
pace           Pass

SCOPE                                 USED    BY
the cluster                           1 of 2  starting: w03
policy workers                        1 of 1  starting: w03
policy workers in failure domain -/a  0 of 2
";
    assert_eq!(explained(world("Enforce"), "w01"), expected);
}

#[test]
fn what_ends_by_itself_is_followed_to_the_start_or_to_what_stands_there_then() {
    let mut alone = world("Enforce");
    alone.nodes.retain(|name, _| name != "w01" && name != "w03");
    let text = explained(alone, "w02");
    let expected =
        "Node w02 waits: Sick is not true for long enough yet (NotLongEnough, policy workers).
If nothing else changes it starts at 03:03:00, in 3m.";
    assert!(text.starts_with(expected), "{text}");
    let mut cordoned = world("Enforce");
    change(&mut cordoned, "w05", |node| node.unschedulable = true);
    let text = explained(cordoned, "w02");
    assert!(text.contains("Time alone does not start it."), "{text}");
    assert!(text.contains("- BudgetExhausted: nodes that are out must come back"), "{text}");
}

#[test]
fn each_state_of_a_node_has_its_first_sentence() {
    let first =
        |world: World, node: &str| explained(world, node).lines().next().unwrap().to_owned();
    assert_eq!(
        first(world("Enforce"), "w03"),
        "Node w03 starts now, first in the order: P2, Sick, policy workers."
    );
    assert_eq!(
        first(world("DryRun"), "w03"),
        "Node w03 would start now (P2, Sick, policy workers), but the policy's mode is DryRun: nothing is"
    );
    assert_eq!(
        first(world("Enforce"), "w09"),
        "Nothing calls for node w09: no trigger is true (workers)."
    );
    let mut none = world("Enforce");
    none.policies.clear();
    assert_eq!(first(none, "w09"), "No policy selects node w09: nothing is done for it.");
    let mut hold = world("Enforce");
    change(&mut hold, "w03", |node| node.hold = true);
    let text = explained(hold, "w03");
    assert!(text.contains("- HoldLabel: kubectl label node w03 rerail.dev/hold-"), "{text}");
}

#[test]
fn the_command_that_closes_a_storm_by_hand_can_be_pasted() {
    let mut stormy = world("Enforce");
    let breaker = &mut stormy.policies.get_mut("workers").unwrap().breaker;
    (breaker.correlated, breaker.manual_reset) = (CountOrPercent::Count(1), true);
    breaker.window = jiff::SignedDuration::from_hours(2);
    let text = explained(stormy, "w03");
    let command = "
- Storm: look at what writes the condition; when it is right:
    kubectl annotate --overwrite rpol workers rerail.dev/reset-breaker=2026-03-01T03:00:00Z
";
    assert!(text.contains(command), "{text}");
}

#[test]
fn a_node_that_is_not_there_is_refused_with_the_names_that_are_near() {
    let refused =
        |name: &str| of_node::view(&survey(world("Enforce")), name).unwrap_err().to_string();
    assert!(refused("w1").starts_with("there is no node w1; did you mean "), "{}", refused("w1"));
    assert!(refused("zzzzzz").contains("`kubectl get nodes` lists them"), "{}", refused("zzzzzz"));
}

#[test]
fn the_shape_for_programs_keeps_its_names() {
    let value = serde_json::to_value(view(world("Enforce"))).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&value),
        [
            "assumptions",
            "budgets",
            "domains",
            "notes",
            "planTime",
            "policies",
            "readTime",
            "recheckTime",
            "runs",
            "starts",
            "stops",
            "storms",
            "summary",
            "version",
            "waiting",
            "wouldStart"
        ]
    );
    assert_eq!(
        keys(&value["starts"][0]),
        ["causes", "domain", "effectivePriority", "node", "policy", "priority", "since"]
    );
    assert_eq!(
        keys(&value["waiting"][0]),
        ["message", "node", "policy", "priority", "reason", "recheckTime"]
    );
    let node = of_node::view(&survey(world("Enforce")), "w01").unwrap();
    let value = serde_json::to_value(node).unwrap();
    assert_eq!(
        keys(&value),
        [
            "answer",
            "assumptions",
            "history",
            "needs",
            "node",
            "notes",
            "planTime",
            "policies",
            "readTime",
            "state",
            "version"
        ]
    );
    assert_eq!(value["node"]["bootID"], "");
}
