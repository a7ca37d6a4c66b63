//! Mishaps, carried out.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::BodyExt;
use rerail_sim::{
    Server,
    backup::Backup,
    observe::{Happening, What},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    draw::Draw,
    lease_copies::Copies,
    mishap::{Broken, Entry, Mishap},
    net::{Net, Way},
    operator::{Halt, Operators},
    plan::Plan,
};

/// Who writes to the Lease and is no operator.
const SOMEBODY: &str = "somebody";

/// Longer than any history.
const FOR_GOOD: Duration = Duration::from_hours(1_000);

/// What mishaps need.
pub(crate) struct Fates {
    pub net: Net,
    pub operators: Rc<Operators>,
    pub copies: Copies,
    pub plan: Plan,
}

impl Fates {
    /// Lets one happen when its time has come.
    pub async fn await_one(self: Rc<Self>, number: usize, entry: Entry) {
        let server = self.net.server();
        let age = match entry.mishap {
            Mishap::EtcdRestored { age } => age.min(entry.at),
            _ => Duration::ZERO,
        };
        sleep(entry.at.saturating_sub(age)).await;
        let backup = (!age.is_zero()).then(|| server.with(|store, _| store.backup()));
        sleep(age).await;
        let what = What::Fault(entry.mishap.to_string());
        self.net.note(format_args!("mishap {number}: {}", entry.mishap));
        server.happened(&Happening { at: server.now(), subject: String::new(), what });
        if let Some(backup) = backup {
            self.restore_everything(number, &backup);
        }
        self.befall(number, entry).await;
    }

    /// Who speaks to the API server is to be started anew: what they know has not happened. Operators that
    /// nobody starts find out by themselves; kubelets and controllers of the world see to it, too.
    fn restore_everything(&self, number: usize, backup: &Backup) {
        let number = u64::try_from(number).unwrap_or_default();
        let mut draw = Draw::new(self.plan.seed, "started after a restore", number);
        // As the manual of etcd asks; and some forget it.
        for name in self.plan.names() {
            let back_after = Duration::from_millis(draw.between(1, 20_000));
            if draw.chance(600) {
                self.operators.kill(&name, back_after);
            }
        }
        let server = self.net.server();
        server.with(|store, _| store.restore(backup));
        server.happened(&Happening {
            at: server.now(),
            subject: String::new(),
            what: What::Restored,
        });
    }

    async fn befall(&self, number: usize, entry: Entry) {
        let left = self.plan.faults_until.saturating_sub(entry.at);
        let name = |operator: usize| format!("operator-{operator}");
        match entry.mishap {
            Mishap::Kill { operator, back_after } => {
                self.operators.kill(&name(operator), back_after.min(left));
            }
            Mishap::Gone { operator } => self.operators.kill(&name(operator), FOR_GOOD),
            Mishap::Stop { operator, lasts, deciding } => {
                let number = u64::try_from(number).unwrap_or_default();
                let drawn = |what, chance| Draw::new(self.plan.seed, what, number).chance(chance);
                let (bites, at_a_write) = (drawn("watchdog", 500), drawn("at a write", 600));
                let halt = Halt { lasts, deciding, at_a_write, bites };
                self.operators.stop(&name(operator), halt, left).await;
            }
            Mishap::Partition { operator, lasts, broken } => {
                let set = |on: bool| {
                    move |way: &mut Way| {
                        if broken != Broken::Replies {
                            way.no_requests = on;
                        }
                        if broken != Broken::Requests {
                            way.no_replies = on;
                        }
                    }
                };
                self.during(Some(operator), lasts.min(left), set(true), set(false)).await;
            }
            Mishap::Late { operator, lasts, delay } => {
                let on = move |way: &mut Way| way.delay = delay;
                let off = |way: &mut Way| way.delay = Duration::ZERO;
                self.during(Some(operator), lasts.min(left), on, off).await;
            }
            Mishap::Outage { operator, lasts, spoil } => {
                let on = move |way: &mut Way| way.spoil = Some(spoil);
                let off = |way: &mut Way| way.spoil = None;
                self.during(operator, lasts.min(left), on, off).await;
            }
            Mishap::NoSpace { lasts } => {
                let on = |way: &mut Way| way.no_writes = true;
                let off = |way: &mut Way| way.no_writes = false;
                self.during(None, lasts.min(left), on, off).await;
            }
            Mishap::Terminate { operator } => self.operators.terminate(&name(operator)),
            // Done by then.
            Mishap::EtcdRestored { .. } => {}
            Mishap::LeaseDeleted => {
                ask(self.net.server(), Method::DELETE, LEASE, None).await;
            }
            Mishap::LeaseStolen => self.steal().await,
            Mishap::LeaseRestored { age } => self.restore(age).await,
        }
    }

    /// Changes the ways of one operator, or of all, for a time.
    async fn during(
        &self,
        operator: Option<usize>,
        lasts: Duration,
        on: impl Fn(&mut Way),
        off: impl Fn(&mut Way),
    ) {
        let names: Vec<String> = match operator {
            Some(operator) => vec![format!("operator-{operator}")],
            None => self.plan.names(),
        };
        names.iter().for_each(|name| self.net.change(name, &on));
        sleep(lasts.max(Duration::from_millis(1))).await;
        names.iter().for_each(|name| self.net.change(name, &off));
    }

    async fn steal(&self) {
        let server = self.net.server();
        let now = server.now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        let spec = json!({ "holderIdentity": SOMEBODY, "renewTime": now });
        ask(server, Method::PATCH, LEASE, Some(json!({ "spec": spec }))).await;
    }

    async fn restore(&self, age: Duration) {
        let server = self.net.server();
        let Some(mut copy) = self.copies.of(self.net.elapsed().saturating_sub(age)) else { return };
        let present = ask(server, Method::GET, LEASE, None).await;
        let version = present.as_ref().map(|lease| lease["metadata"]["resourceVersion"].clone());
        if let Some(metadata) = copy["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
            metadata.remove("uid");
            if let Some(version @ Value::String(_)) = version.clone() {
                metadata.insert("resourceVersion".to_owned(), version);
            }
        }
        match version {
            Some(Value::String(_)) => ask(server, Method::PUT, LEASE, Some(copy)).await,
            _ => ask(server, Method::POST, LEASES, Some(copy)).await,
        };
    }
}

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/rerail-system/leases";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/rerail-system/leases/rerail-operator";

/// One request of somebody, answered at once.
async fn ask(server: &Server, method: Method, uri: &str, body: Option<Value>) -> Option<Value> {
    let media =
        if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let request = Request::builder().method(method).uri(uri).header(header::CONTENT_TYPE, media);
    let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
    let answer = server.acting_as(SOMEBODY).answer(&request.body(body).ok()?);
    let body = answer.into_body().collect().await.ok()?.to_bytes();
    serde_json::from_slice(&body).ok()
}

/// What everything is like once all faults have stopped.
pub(crate) fn calm(net: &Net, plan: &Plan) {
    for name in plan.names() {
        net.change(&name, |way| *way = Way::default());
    }
}
