//! Plays a case on a server and takes down what it answers.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use serde_json::{Value, json};

use crate::Error;
use crate::case::{Act, Case, Step};
use crate::normal;
use crate::record::{Difference, Record, compare};
use crate::transport::{BodyStream, Transport};

/// How long an answer or the rest of a watch may take. Watches of the suite end by `timeoutSeconds`, or are left.
const PATIENCE: Duration = Duration::from_secs(30);

/// Headers that clients go by.
const HEADERS: [&str; 4] = ["allow", "content-type", "retry-after", "warning"];

/// What a server made of a case.
#[derive(Debug)]
pub struct Played {
    /// Its answers in normal form, in the order of the steps.
    pub records: Vec<Record>,
    /// Why the case was not played to its end: a request had no answer, or a step needs something that an earlier
    /// answer did not have.
    pub broken_off: Option<Error>,
}

/// Plays a case.
pub async fn play(case: &Case, server: &dyn Transport) -> Played {
    let id = id(&case.name);
    let mut player = Player { case, server, variables: BTreeMap::new(), records: Vec::new() };
    player.variables.insert("id".to_owned(), json!(id));
    player.variables.insert("ns".to_owned(), json!(id));
    let broken_off = player.all_steps(&id).await.err();
    Played { records: normal::normalise(player.records), broken_off }
}

/// Plays every case on a server, one after the other, and gives back everything in which it is not as recorded.
///
/// # Errors
/// If the scripts or the recording cannot be read. A case that cannot be played to its end is a difference.
pub async fn check(server: &dyn Transport) -> Result<Vec<Difference>, Error> {
    let (mut records, mut differences) = (Vec::new(), Vec::new());
    for case in crate::cases()? {
        let played = play(&case, server).await;
        records.extend(played.records);
        differences.extend(played.broken_off.map(|error| Difference {
            case: case.name,
            step: "broken off".to_owned(),
            what: vec![error.to_string()],
        }));
    }
    differences.extend(compare(&crate::recorded()?, &records));
    Ok(differences)
}

/// The name of a case as a DNS label.
fn id(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric(), "-").to_lowercase()
}

fn mentions_namespace(steps: &[Step]) -> bool {
    steps.iter().any(|step| step.path.contains("${ns}") || mentions_namespace(&step.during))
}

struct Player<'a> {
    case: &'a Case,
    server: &'a dyn Transport,
    variables: BTreeMap<String, Value>,
    records: Vec<Record>,
}

impl Player<'_> {
    async fn all_steps(&mut self, id: &str) -> Result<(), Error> {
        if mentions_namespace(&self.case.steps) {
            self.make_namespace(id).await?;
        }
        for (index, step) in self.case.steps.iter().enumerate() {
            self.step((index + 1).to_string(), step).await?;
        }
        Ok(())
    }

    /// A namespace and, in the place of the controller that would make it, its service account: pods need one.
    async fn make_namespace(&self, id: &str) -> Result<(), Error> {
        let account = format!("/api/v1/namespaces/{id}/serviceaccounts");
        for (path, name) in [("/api/v1/namespaces", id), (account.as_str(), "default")] {
            let body = json!({ "metadata": { "name": name } }).to_string();
            let request = request("POST", path).header("content-type", "application/json");
            let answer = self.send(request.body(body.into_bytes()), path).await?;
            drop(whole(answer.into_body()).await);
        }
        Ok(())
    }

    fn step<'b>(&'b mut self, number: String, step: &'b Step) -> BoxFuture<'b, Result<(), Error>> {
        Box::pin(async move {
            let path = self.filled_text(&step.path, &number)?;
            let answer = self.send(self.request(step, &path, &number)?, &path).await?;
            for (index, inner) in step.during.iter().enumerate() {
                self.step(format!("{number}.{}", index + 1), inner).await?;
            }
            let (parts, body) = answer.into_parts();
            let headers = HEADERS.iter().filter_map(|name| {
                let value = parts.headers.get(*name)?.to_str().ok()?;
                Some(((*name).to_owned(), value.to_owned()))
            });
            let is_stream = step.act == Act::Watch && parts.status.is_success();
            let body = if is_stream { events(body, step.events).await } else { whole(body).await };
            let kept = self.keep(step, &body, &number);
            self.records.push(Record {
                case: self.case.name.clone(),
                step: number,
                request: format!("{} {path}", label(step.act)),
                status: parts.status.as_u16(),
                headers: headers.collect(),
                body: compared(step, body),
            });
            kept
        })
    }

    fn request(
        &self,
        step: &Step,
        path: &str,
        number: &str,
    ) -> Result<http::Result<Request<Vec<u8>>>, Error> {
        let mut request = request(step.act.method(), path);
        if let Some(accept) = &step.accept {
            request = request.header("accept", accept);
        }
        let body = match (&step.body, &step.text) {
            (Some(body), _) => self.filled(body, number)?.to_string(),
            (None, Some(text)) => self.filled_text(text, number)?,
            (None, None) => return Ok(request.body(Vec::new())),
        };
        let usual = match step.act {
            Act::Patch(patch) => patch.media_type(),
            Act::Method(_) | Act::Watch => "application/json",
        };
        let media_type = step.content_type.as_deref().unwrap_or(usual);
        Ok(request.header("content-type", media_type).body(body.into_bytes()))
    }

    async fn send(
        &self,
        request: http::Result<Request<Vec<u8>>>,
        path: &str,
    ) -> Result<Response<BodyStream>, Error> {
        let failed =
            |what: String| Error::NoAnswer { request: format!("{}: {path}", self.case.name), what };
        let request = request.map_err(|error| failed(error.to_string()))?;
        match tokio::time::timeout(PATIENCE, self.server.send(request)).await {
            Ok(answer) => answer.map_err(|error| failed(error.to_string())),
            Err(_) => Err(failed(format!("nothing within {} s", PATIENCE.as_secs()))),
        }
    }

    fn keep(&mut self, step: &Step, body: &Value, number: &str) -> Result<(), Error> {
        for (name, pointer) in &step.keep {
            let value = part(body, pointer).cloned().ok_or_else(|| {
                self.bad(number, format!("the answer has no {pointer} to keep: {body}"))
            })?;
            self.variables.insert(name.clone(), value);
        }
        Ok(())
    }

    fn bad(&self, number: &str, what: String) -> Error {
        Error::script(&format!("{}, step {number}", self.case.name), what)
    }

    /// The value with variables filled in; a text that is nothing but a variable takes the variable's type.
    fn filled(&self, value: &Value, number: &str) -> Result<Value, Error> {
        Ok(match value {
            Value::String(text) => {
                let alone = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
                match alone.and_then(|name| self.variables.get(name)) {
                    Some(value) => value.clone(),
                    None => Value::String(self.filled_text(text, number)?),
                }
            }
            Value::Array(list) => {
                let filled = list.iter().map(|item| self.filled(item, number));
                Value::Array(filled.collect::<Result<_, _>>()?)
            }
            Value::Object(map) => {
                let filled = map.iter().map(|(key, item)| {
                    Ok((self.filled_text(key, number)?, self.filled(item, number)?))
                });
                Value::Object(filled.collect::<Result<_, Error>>()?)
            }
            other => other.clone(),
        })
    }

    fn filled_text(&self, text: &str, number: &str) -> Result<String, Error> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| self.bad(number, "a variable without an end".to_owned()))?;
            let value = self
                .variables
                .get(name)
                .ok_or_else(|| self.bad(number, format!("no variable `{name}`")))?;
            out.push_str(before);
            out.push_str(&value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}

fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path)
}

/// How a request is called in records.
fn label(act: Act) -> String {
    match act {
        Act::Method(method) => method.to_owned(),
        Act::Patch(patch) => format!("PATCH({})", patch.name()),
        Act::Watch => "WATCH".to_owned(),
    }
}

/// The part of the answer that the step compares.
fn compared(step: &Step, mut body: Value) -> Value {
    match step.only.as_deref() {
        Some("status") => return Value::Null,
        Some(pointer) => body = part(&body, pointer).cloned().unwrap_or_default(),
        None => {}
    }
    for pointer in &step.ignore {
        if let Some(part) = body.pointer_mut(pointer) {
            *part = json!("<ignored>");
        }
    }
    body
}

/// The part of a value that a JSON pointer names; its segment `[key=value]` means the first item of a list that has it,
/// and `key` may have dots.
fn part<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    let mut found = value;
    for segment in pointer.split('/').skip(1) {
        let segment = segment.replace("~1", "/").replace("~0", "~");
        let wanted = segment.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        found = match (wanted.and_then(|wanted| wanted.split_once('=')), found) {
            (Some((key, wanted)), Value::Array(list)) => {
                let inner = format!("/{}", key.replace('.', "/"));
                let is_it = |item: &&Value| item.pointer(&inner).is_some_and(|v| v == wanted);
                list.iter().find(is_it)?
            }
            (None, Value::Array(list)) => list.get(segment.parse::<usize>().ok()?)?,
            _ => found.get(&segment)?,
        };
    }
    Some(found)
}

/// A body that ends: JSON, or the text that it is.
async fn whole(mut body: BodyStream) -> Value {
    let mut bytes = Vec::new();
    loop {
        match tokio::time::timeout(PATIENCE, body.next()).await {
            Ok(Some(Ok(part))) => bytes.extend_from_slice(&part),
            Ok(None) => break,
            Ok(Some(Err(error))) => return json!(format!("<broken off: {error}>")),
            Err(_) => return json!("<does not end>"),
        }
    }
    match serde_json::from_slice(&bytes) {
        Ok(value) => value,
        Err(_) => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// The events of a watch, and how it ended: left by us, or by the server.
async fn events(mut body: BodyStream, enough: Option<usize>) -> Value {
    let mut events: Vec<Value> = Vec::new();
    let mut line = Vec::new();
    let end = 'read: loop {
        if enough.is_some_and(|enough| events.len() >= enough) {
            break "left";
        }
        let part = match tokio::time::timeout(PATIENCE, body.next()).await {
            Ok(Some(Ok(part))) => part,
            Ok(None) => break "ended by the server",
            Ok(Some(Err(_))) => break "broken off",
            Err(_) => break "silent",
        };
        for byte in part {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            let text = String::from_utf8_lossy(&line).into_owned();
            events.push(serde_json::from_slice(&line).unwrap_or(Value::String(text)));
            line.clear();
            if enough.is_some_and(|enough| events.len() >= enough) {
                break 'read "left";
            }
        }
    };
    json!({ "events": events, "end": end })
}
