//! The plan for people.

use super::{
    of_plan::queues,
    view::{BudgetView, DomainView, Frame, PlanView, Start, Waiting, Why},
    words::{Dial, count, some, table, wrapped},
};

/// Rows of a table that people are shown; the others are counted.
const ROWS: usize = 40;

/// A reason of no more bytes than this is told again for each node.
const SHORT: usize = 80;

/// The whole answer.
pub fn plan(view: &PlanView, dial: &Dial) -> String {
    let mut text = wrapped(&view.summary, 2);
    text.push_str(&frame(&view.frame, dial));
    for stop in &view.stops {
        text.push_str(&wrapped(&format!("! {}", sentence(stop, dial)), 2));
    }
    let mut part = |title: &str, body: String| {
        if !body.is_empty() {
            text.push_str(&format!("\n{title}\n{body}"));
        }
    };
    part("STARTS, IN THIS ORDER", starts(&view.starts, dial));
    for would in &view.would_start {
        let title = format!("WOULD START, IF POLICY {} ENFORCED", would.policy);
        part(&title, starts(&would.starts, dial));
    }
    let queue = view.waiting.iter().filter(|waiting| queues(waiting, &view.runs));
    part("WAITS", waiting(&queue.collect::<Vec<_>>(), dial));
    part("UNDER WAY", runs(view, dial));
    part("DOMAINS", domains(&view.domains));
    part("BUDGETS", budgets(&view.budgets));
    part("STORMS", storms(view, dial));
    part("POLICIES", policies(view));
    if let Some(time) = view.recheck_time {
        text.push_str(&format!("\nBy itself this can change at {}.\n", dial.until(time)));
    }
    text
}

/// When this is, what it takes for granted, and what is to be known beside it.
pub fn frame(frame: &Frame, dial: &Dial) -> String {
    let mut text = String::new();
    if frame.plan_time > frame.read_time {
        let ahead = super::words::length(frame.plan_time.duration_since(frame.read_time));
        text.push_str(&format!("Planned for {}, {ahead} from now, if\n", dial.moment()));
        for assumption in &frame.assumptions {
            text.push_str(&wrapped(&format!("- {assumption}"), 2));
        }
    } else {
        text.push_str(&format!("As of {}.\n", dial.moment()));
    }
    for note in &frame.notes {
        text.push_str(&wrapped(&format!("! {note}"), 2));
    }
    text
}

/// A reason, its sentence, and until when.
pub fn sentence(why: &Why, dial: &Dial) -> String {
    let until = why.until().map(|time| format!(" (by itself not before {})", dial.until(time)));
    format!("{}: {}{}", why.reason, why.message, until.unwrap_or_default())
}

/// `P6`, or `P9 aged to P7`.
pub fn priority(said: u16, effective: u16) -> String {
    if said == effective { format!("P{said}") } else { format!("P{effective} (P{said} aged)") }
}

fn starts(starts: &[Start], dial: &Dial) -> String {
    if starts.is_empty() {
        return String::new();
    }
    let rows = starts.iter().take(ROWS).enumerate().map(|(index, start)| {
        let cause = match start.causes.as_slice() {
            [] => "asked for by a person".to_owned(),
            causes => some(causes),
        };
        vec![
            index.saturating_add(1).to_string(),
            start.node.clone(),
            priority(start.priority, start.effective_priority),
            dial.lasted(start.since),
            start.domain.clone(),
            start.policy.clone(),
            cause,
        ]
    });
    let header = ["#", "NODE", "PRIORITY", "WAITED", "DOMAIN", "POLICY", "CAUSE"];
    table(&header, rows) + &more(starts.len())
}

fn waiting(waiting: &[&Waiting], dial: &Dial) -> String {
    if waiting.is_empty() {
        return String::new();
    }
    // Where all is of one policy its name would only take the room of the reasons.
    let several =
        waiting.iter().any(|other| waiting.first().is_some_and(|f| f.policy != other.policy));
    let mut above = "";
    let rows = waiting.iter().take(ROWS).map(|waiting| {
        let message = waiting.why.message.as_str();
        // A long sentence that is true of hundreds is read once.
        let again = message.len() > SHORT && message == above;
        above = message;
        let mut row = vec![
            waiting.node.clone(),
            waiting.priority.map_or("-".to_owned(), |priority| format!("P{priority}")),
            waiting.why.reason.clone(),
            waiting.why.until().map_or("-".to_owned(), |time| dial.left(time)),
            if again { "as above".to_owned() } else { message.to_owned() },
        ];
        if several {
            row.insert(2, waiting.policy.clone());
        }
        row
    });
    let mut header = vec!["NODE", "PRIORITY", "REASON", "AT LEAST", "WHY"];
    if several {
        header.insert(2, "POLICY");
    }
    table(&header, rows) + &more(waiting.len())
}

fn more(rows: usize) -> String {
    match rows.saturating_sub(ROWS) {
        0 => String::new(),
        more => format!("… and {more} more; -o json has them all\n"),
    }
}

fn runs(view: &PlanView, dial: &Dial) -> String {
    if view.runs.is_empty() {
        return String::new();
    }
    let rows = view.runs.iter().take(ROWS).map(|run| {
        vec![
            run.node.clone(),
            run.step.clone(),
            dial.lasted(run.since),
            run.deadline.map_or("-".to_owned(), |time| dial.left(time)),
            run.domain.clone().unwrap_or_else(|| "-".to_owned()),
            run.name.clone(),
            if run.message.is_empty() { run.reason.clone() } else { run.message.clone() },
        ]
    });
    let header = ["NODE", "STEP", "FOR", "DEADLINE", "DOMAIN", "RUN", "WHY"];
    table(&header, rows) + &more(view.runs.len())
}

fn domains(domains: &[DomainView]) -> String {
    if domains.is_empty() {
        return String::new();
    }
    let rows = domains.iter().take(ROWS).map(|domain| {
        let closed = domain.closed_by.as_ref().map(|node| format!("for {node}, more urgent"));
        let reserved = domain.reserved_for.as_ref().filter(|_| domain.state != "Open");
        let reserved = reserved.map(|node| format!("kept for {node}"));
        vec![
            domain.domain.clone(),
            domain.state.clone(),
            some(&domain.under_way),
            domain.most_urgent.map_or("-".to_owned(), |priority| format!("P{priority}")),
            closed.or(reserved).unwrap_or_default(),
        ]
    });
    table(&["DOMAIN", "STATE", "UNDER WAY", "MOST URGENT", ""], rows) + &more(domains.len())
}

/// How budgets stand.
pub fn budgets(budgets: &[BudgetView]) -> String {
    if budgets.is_empty() {
        return String::new();
    }
    let rows = budgets.iter().take(ROWS).map(|budget| {
        let of = |what: &str, nodes: &[String]| match nodes {
            [] => None,
            nodes => Some(format!("{what} {}", some(nodes))),
        };
        let by = [
            of("starting:", &budget.starting),
            of("under way:", &budget.under_way),
            of("out otherwise:", &budget.out),
        ];
        vec![
            budget.scope.clone(),
            format!("{} of {}", budget.used, budget.limit),
            by.into_iter().flatten().collect::<Vec<_>>().join("; "),
        ]
    });
    table(&["SCOPE", "USED", "BY"], rows) + &more(budgets.len())
}

fn storms(view: &PlanView, dial: &Dial) -> String {
    if view.storms.is_empty() {
        return String::new();
    }
    let rows = view.storms.iter().map(|storm| {
        let state = match storm.allowed {
            Some(allowed) => {
                format!("{}: {} may start", storm.state, count(allowed as usize, "run"))
            }
            None => storm.state.clone(),
        };
        vec![storm.condition_type.clone(), storm.policy.clone(), state, dial.lasted(storm.since)]
    });
    table(&["CONDITION", "POLICY", "STATE", "FOR"], rows)
}

fn policies(view: &PlanView) -> String {
    if view.policies.is_empty() {
        return "none\n".to_owned();
    }
    let rows = view.policies.iter().map(|policy| {
        let suspended = if policy.suspended { "suspended" } else { "" };
        let previewed = if policy.previewed { "previewed, not applied" } else { "" };
        let both: Vec<_> = [suspended, previewed].into_iter().filter(|w| !w.is_empty()).collect();
        vec![
            policy.name.clone(),
            policy.mode.clone(),
            count(policy.matched, "node"),
            both.join(", "),
        ]
    });
    table(&["POLICY", "MODE", "SELECTS", ""], rows)
}
