//! One node for people: the answer first.

use super::{
    table::{budgets, frame, priority, sentence},
    view::{NodeView, PairView, TriggerView},
    words::{Dial, table, wrapped},
};

/// The whole answer.
pub fn node(view: &NodeView, dial: &Dial) -> String {
    let mut text = wrapped(&view.answer, 2);
    match view.earliest_time {
        Some(time) if view.state == "Waits" => {
            text.push_str(&format!("If nothing else changes it starts at {}.\n", dial.until(time)));
        }
        None if view.state == "Waits" => {
            text.push_str("Time alone does not start it.\n");
        }
        Some(_) | None => {}
    }
    text.push_str(&frame(&view.frame, dial));
    let needs = view.needs.iter().map(|need| listed(need));
    part(&mut text, "WHAT WOULD HAVE TO CHANGE", needs.collect());
    part(
        &mut text,
        "NODE",
        table(&["", ""], facts(view, dial)).trim_start_matches('\n').to_owned(),
    );
    for pair in view.policies.iter().filter(|pair| pair.selected) {
        policy(&mut text, pair, dial);
    }
    let others: Vec<_> =
        view.policies.iter().filter(|pair| !pair.selected).map(|p| p.policy.as_str()).collect();
    if !others.is_empty() {
        let others = format!("Not selected by: {}.", others.join(", "));
        text.push_str(&format!("\n{}", wrapped(&others, 2)));
    }
    text
}

/// A command that would not fit stands on a line of its own, unbroken, so that it can be pasted.
fn listed(need: &str) -> String {
    match need.split_once("kubectl ") {
        Some((before, command)) if need.len() > 90 => {
            format!("{}    kubectl {command}\n", wrapped(&format!("- {before}"), 2))
        }
        Some(_) | None => wrapped(&format!("- {need}"), 2),
    }
}

fn part(text: &mut String, title: &str, body: String) {
    if !body.is_empty() {
        text.push_str(&format!("\n{title}\n{body}"));
    }
}

fn facts(view: &NodeView, dial: &Dial) -> Vec<Vec<String>> {
    let node = &view.node;
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    let since = node.ready_since.map(|since| format!(" for {}", dial.lasted(since)));
    row("Ready", format!("{}{}", node.ready, since.unwrap_or_default()));
    row("Cordon", node.cordon.clone().unwrap_or_else(|| "none".to_owned()));
    let marks = [
        (node.hold, "label rerail.dev/hold"),
        (node.ignore, "label rerail.dev/ignore"),
        (node.control_plane, "control plane"),
        (node.deleting, "being deleted"),
        (node.out_of_service, "out of service"),
    ];
    let marks: Vec<_> =
        marks.into_iter().filter(|(there, _)| *there).map(|(_, name)| name.to_owned()).collect();
    let marks: Vec<_> = marks.into_iter().chain(node.claimed_by.clone()).collect();
    if !marks.is_empty() {
        row("Marks", marks.join(", "));
    }
    if !node.domain.is_empty() {
        let own =
            if node.domain_labelled { "" } else { ", its own: it lacks every topology label" };
        row("Domain", format!("{}{own}", node.domain));
    }
    row("Boot ID", node.boot_id.clone());
    if let Some(run) = &view.run {
        row("Run", format!("{}, {} for {}", run.name, run.step, dial.lasted(run.since)));
    }
    if let Some(last) = &view.history.last {
        let ago = dial.lasted(last.end_time);
        row("Last run", format!("{}: {} ({}), {ago} ago", last.name, last.result, last.reason));
    }
    if let Some(last) = view.history.attempts.last() {
        let number = view.history.attempts.len();
        row("Reboots", format!("{number} remembered, the last {} ago", dial.lasted(*last)));
    }
    let read: Vec<_> = view
        .policies
        .iter()
        .flat_map(|pair| &pair.triggers)
        .filter_map(|trigger| trigger.condition_type.as_deref())
        .collect();
    let others = node.conditions.iter().filter(|c| !read.contains(&c.condition_type.as_str()));
    let others: Vec<_> = others
        .filter(|c| c.condition_type != "Ready")
        .map(|c| format!("{} {}", c.condition_type, c.status))
        .collect();
    if !others.is_empty() {
        row("Other conditions", others.join(", "));
    }
    rows
}

fn policy(text: &mut String, pair: &PairView, dial: &Dial) {
    let mut about = vec![pair.mode.clone()];
    about.extend(pair.suspended.then(|| "suspended".to_owned()));
    about.extend(pair.previewed.then(|| "previewed, not applied".to_owned()));
    if let (Some(said), Some(effective)) = (pair.priority, pair.effective_priority) {
        about.push(priority(said, effective));
    }
    about.extend(pair.place.map(|place| format!("number {place} in the order")));
    text.push_str(&format!("\nPOLICY {} ({})\n", pair.policy, about.join(", ")));
    if let Some(wait) = &pair.wait {
        text.push_str(&wrapped(&sentence(wait, dial), 2));
    }
    for then in &pair.then {
        text.push_str(&wrapped(&format!("then {}", sentence(then, dial)), 2));
    }
    let header = ["TRIGGER", "CONDITION", "READS", "PRIORITY", "FOR", "REPORTED", "MESSAGE"];
    text.push_str(&table(&header, pair.triggers.iter().map(|trigger| reads(trigger, dial))));
    if !pair.gates.is_empty() {
        let rows = pair.gates.iter().map(|gate| {
            let until = gate.why.as_ref().and_then(|why| why.until());
            let why = gate.why.as_ref().map(|why| format!("{}: {}", why.reason, why.message));
            vec![
                gate.gate.clone(),
                gate.verdict.clone(),
                until.map_or(String::new(), |time| dial.until(time)),
                why.unwrap_or_default(),
            ]
        });
        text.push_str(&format!("\n{}", table(&["GATE", "SAYS", "UNTIL", "WHY"], rows)));
    }
    if !pair.budgets.is_empty() {
        text.push_str(&format!("\n{}", budgets(&pair.budgets)));
    }
}

fn reads(trigger: &TriggerView, dial: &Dial) -> Vec<String> {
    let reading = match trigger.until {
        Some(until) => format!("{} until {}", trigger.reading, dial.until(until)),
        None => trigger.reading.clone(),
    };
    let ago = |time| format!("{} ago", dial.lasted(time));
    vec![
        trigger.pattern.clone(),
        match (&trigger.condition_type, &trigger.status) {
            (Some(kind), Some(status)) => format!("{kind} {status}"),
            _ => "-".to_owned(),
        },
        reading,
        trigger.priority.map_or("-".to_owned(), |priority| format!("P{priority}")),
        trigger.since.map_or("-".to_owned(), |since| dial.lasted(since)),
        trigger.heartbeat_time.map_or("-".to_owned(), ago),
        trigger.message.clone().unwrap_or_default(),
    ]
}
