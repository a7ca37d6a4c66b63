//! What is said of a source: its status, Events, metrics. The status is written when it says something
//! new; the time of the last answers alone is news only once per heartbeat interval.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, Resource, api::Patch, runtime::events::EventType};
use rerail_api::{
    AlertSource,
    alert_source::{
        AlertCounts, AlertServerState, AlertServerStatus, AlertSourceStatus, FLAWS_KEPT,
    },
};
use rerail_core::alert::{
    plan::{Counts, Placed},
    source::{Absence, Server},
};
use serde_json::json;

use super::{
    runner::Heard,
    source::{Source, SourceError},
};
use crate::{act::patch_params, client::call, context::Context, record::conditions::Before};

/// What was said last.
#[derive(Default)]
pub struct Report {
    said: Option<(AlertSourceStatus, Timestamp)>,
    /// Why nobody may push; empty if all is well.
    pub push_error: String,
}

impl Report {
    /// Says how a source stands.
    pub async fn settled(
        &mut self,
        context: &Context,
        source: &Source,
        groups: &[Vec<Server<Placed>>],
        heard: &[Heard],
        absence: Absence,
        counts: Counts,
    ) {
        context.deps.metrics.alert_source(&source.name, counts.firing, counts.matched);
        let object = context.alert_sources.get(&source.name);
        if source.is_object() && object.is_none() {
            return;
        }
        let servers = servers(source, groups, heard);
        let before = match (&self.said, &object) {
            (Some((said, _)), _) => said.clone(),
            (None, Some(object)) => object.status.clone().unwrap_or_default(),
            (None, None) => AlertSourceStatus::default(),
        };
        let now = context.now();
        let (ready, reason, message) = standing(&servers, absence);
        let from = Before { conditions: &before.conditions, generation: source.generation, now };
        let (mut flaws, flawed) = flaws(groups, heard, counts);
        if !self.push_error.is_empty() {
            flaws.insert(0, format!("nobody can push: {}", self.push_error));
            flaws.truncate(FLAWS_KEPT);
        }
        let status = AlertSourceStatus {
            observed_generation: source.generation,
            conditions: vec![
                from.condition("Ready", ready, reason, &message),
                from.condition("Reconciling", false, reason, ""),
                from.condition("Stalled", false, reason, ""),
            ],
            counts: AlertCounts {
                firing: counted(counts.firing),
                matched: counted(counts.matched),
                nodes: counted(counts.nodes),
                flawed: counted(flawed),
            },
            servers,
            flaws,
        };
        // What is logged says nothing of the times.
        let every =
            if source.is_object() { source.heartbeat_interval } else { SignedDuration::MAX };
        if !self.is_news(&status, every, now) {
            return;
        }
        let Some(object) = object else {
            log(source, ready, &message, &status);
            self.said = Some((status, now));
            return;
        };
        if ready_of(&before.conditions) != ready_of(&status.conditions) {
            let kind = if ready { EventType::Normal } else { EventType::Warning };
            let about = object.object_ref(&());
            context.events.publish(kind, "Poll", reason, &message, &about, None);
        }
        if write(context, &source.name, &status).await {
            self.said = Some((status, now));
        }
    }

    fn is_news(&self, status: &AlertSourceStatus, every: SignedDuration, now: Timestamp) -> bool {
        let Some((said, at)) = &self.said else { return true };
        now.duration_since(*at) >= every || without_times(said) != without_times(status)
    }
}

/// Says how a source stands that has no status.
fn log(source: &Source, ready: bool, message: &str, status: &AlertSourceStatus) {
    let (source, counts, flaws) = (&source.name, &status.counts, status.flaws.join("; "));
    let (firing, matched, nodes) = (counts.firing, counts.matched, counts.nodes);
    if ready && flaws.is_empty() {
        tracing::info!(source, firing, matched, nodes, "{message}");
    } else {
        tracing::warn!(source, firing, matched, nodes, flaws, "{message}");
    }
}

fn counted(count: usize) -> i32 {
    count.try_into().unwrap_or(i32::MAX)
}

fn ready_of(conditions: &[Condition]) -> Option<&str> {
    conditions.iter().find(|c| c.type_ == "Ready").map(|c| c.status.as_str())
}

fn without_times(status: &AlertSourceStatus) -> AlertSourceStatus {
    let mut status = status.clone();
    status.servers.iter_mut().for_each(|server| server.last_answer_time = None);
    status
}

fn servers(
    source: &Source,
    groups: &[Vec<Server<Placed>>],
    heard: &[Heard],
) -> Vec<AlertServerStatus> {
    let all = groups.iter().flatten().zip(heard).zip(&source.servers);
    all.map(|((server, heard), url)| {
        let (state, message) = match &server.last {
            _ if server.failing || server.last.is_none() => {
                (AlertServerState::Silent, heard.error.clone())
            }
            Some(_) if heard.unreadable > 0 => (
                AlertServerState::Blind,
                format!("{} of its alerts cannot be read", heard.unreadable),
            ),
            Some(answer) if !answer.sees => {
                let deadman = source.deadman_alert.as_deref().unwrap_or_default();
                let message = format!("it does not show the deadman alert {deadman}");
                (AlertServerState::Blind, message)
            }
            Some(answer) if !answer.tells_absence() => {
                (AlertServerState::Blind, "it has begun only just now".to_owned())
            }
            _ => (AlertServerState::Answers, String::new()),
        };
        AlertServerStatus {
            url: url.clone(),
            state,
            message: message.chars().take(1000).collect(),
            alerts: counted(server.last.as_ref().map_or(0, |answer| answer.alerts.len())),
            last_answer_time: server.last.as_ref().map(|answer| answer.at),
        }
    })
    .collect()
}

/// Whether the source can tell that an alert has ended, with a reason and a sentence.
fn standing(servers: &[AlertServerStatus], absence: Absence) -> (bool, &'static str, String) {
    let poor = servers.iter().find(|server| server.state != AlertServerState::Answers);
    let told = poor.map(|server| match server.state {
        AlertServerState::Blind => {
            ("Blind", format!("{} is blind: {}", server.url, server.message))
        }
        _ if server.message.is_empty() => {
            ("Silent", format!("{} has not answered yet", server.url))
        }
        _ => ("Silent", format!("{} does not answer: {}", server.url, server.message)),
    });
    match (absence, told) {
        (Absence::NotFiring { .. }, None) => (true, "Answering", "every server answers".to_owned()),
        (Absence::NotFiring { .. }, Some((_, message))) => {
            (true, "PartlyAnswering", format!("{message}; its replicas answer for it"))
        }
        (Absence::Held, Some((reason, message))) => {
            (false, reason, format!("{message}; what was said last holds"))
        }
        (Absence::Unknown, Some((reason, message))) => {
            (false, reason, format!("{message}; conditions are Unknown"))
        }
        // All answer, but what one has said has become old in the meantime.
        (_, None) => (false, "Silent", "no answer is fresh".to_owned()),
    }
}

/// What is wrong with alerts, each thing once, and how much.
fn flaws(groups: &[Vec<Server<Placed>>], heard: &[Heard], counts: Counts) -> (Vec<String>, usize) {
    let of_alerts = heard.iter().flat_map(|heard| &heard.flaws).map(ToString::to_string);
    let answers = groups.iter().flatten().filter_map(|server| server.last.as_ref());
    let failed = answers.flat_map(|answer| &answer.alerts).filter_map(|placed| {
        let why = placed.failed.as_ref()?;
        Some(format!(
            "the expression fails on alert `{}`: {why}",
            short(&placed.alert.condition_type)
        ))
    });
    let mut all: Vec<String> = of_alerts.chain(failed).collect();
    let unreadable = heard.iter().map(|heard| heard.unreadable).max().unwrap_or(0);
    if unreadable > 0 {
        all.push(format!("{unreadable} alerts cannot be read and are left out"));
    }
    if counts.too_many > 0 {
        all.push(format!("{} alerts are left out: their nodes have too many", counts.too_many));
    }
    if counts.foreign > 0 {
        all.push(format!(
            "{} alerts are left out: another writer has a condition of that type; choose another prefix",
            counts.foreign
        ));
    }
    all.sort();
    all.dedup();
    let count = all.len();
    all.truncate(FLAWS_KEPT);
    (all, count)
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

/// Says of a source that it cannot be worked with, and why. False if that was not written.
pub async fn stalled(context: &Context, object: &AlertSource, error: &SourceError) -> bool {
    let before = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or_default();
    let now = context.now();
    let from = Before { conditions: &before.conditions, generation, now };
    let (reason, message) = (error.reason(), error.to_string());
    let status = AlertSourceStatus {
        observed_generation: generation,
        conditions: vec![
            from.condition("Ready", false, reason, &message),
            from.condition("Reconciling", false, reason, ""),
            from.condition("Stalled", true, reason, &message),
        ],
        ..AlertSourceStatus::default()
    };
    let about = object.object_ref(&());
    context.events.publish(EventType::Warning, "Check", reason, &message, &about, None);
    let name = object.metadata.name.clone().unwrap_or_default();
    without_times(&before) == status || write(context, &name, &status).await
}

async fn write(context: &Context, name: &str, status: &AlertSourceStatus) -> bool {
    let api: Api<AlertSource> = Api::all(context.clients.act.clone());
    let params = patch_params();
    let patch = Patch::Merge(json!({ "status": status }));
    let what = || format!("write the status of AlertSource {name}");
    match call(what, api.patch_status(name, &params, &patch)).await {
        Ok(_) => true,
        Err(error) if error.is_not_found() => true,
        Err(error) => {
            tracing::warn!(%error, "a status was not written; trying again");
            false
        }
    }
}
