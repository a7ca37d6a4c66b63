//! One step away from the good history, each.

use rerail_api::names;
use serde_json::json;

use super::history::{History, OPERATOR, SICK, TERM};
use crate::observe::What;

/// The property that does not hold, what happens, and how.
pub type Red = (&'static str, &'static str, fn(&mut History));

pub const HISTORIES: &[Red] = &[
    ("SAFE-1", "an attempt acts twice", |h| {
        h.until_booted("n1");
        h.happens("n1", What::Acts(History::cause("n1", 1)));
    }),
    ("SAFE-1", "an attempt boots the machine twice", |h| {
        h.until_booted("n1");
        h.happens("n1", What::Boot { boot_id: "n1-3".into(), cause: History::cause("n1", 1) });
    }),
    ("SAFE-1", "the number of an attempt is used again", |h| {
        h.until_booted("n1");
        h.to("n1", "Withdrawing", None);
        h.set("n1", |status| status["step"] = json!("Rebooting"));
        let boot = h.boot_id("n1");
        h.set("n1", |status| {
            status["intent"] = json!({ "effect": "Reboot", "step": "Rebooting", "attempt": 1, "nodeUID": "uid-n1",
                "bootIDBefore": boot, "epoch": 1, "time": "2026-01-01T00:00:00Z" });
        });
    }),
    ("SAFE-1", "an attempt that was given up is begun again", |h| {
        h.until_drained("n1");
        h.rebooting("n1");
        h.to("n1", "Withdrawing", None);
        h.set("n1", |status| status["step"] = json!("Rebooting"));
    }),
    ("SAFE-2", "a write is sent long after the last renewal", |h| {
        h.admitted("n1");
        h.wait(11);
        h.cordons("n1");
    }),
    ("SAFE-2", "a status is written by an older term", |h| {
        h.admitted("n1");
        h.happens("operator-0", What::OperatorStarted);
        h.set_by("operator-0", "n1", |status| {
            status["epoch"] = json!(0);
            status["leader"] = json!("term-0");
        });
    }),
    ("SAFE-2", "a run is carried on without being adopted", |h| {
        h.until_drained("n1");
        h.happens("operator-2", What::OperatorStarted);
        h.lease("operator-2", "term-2", 2, &["n1"]);
        h.set_by("operator-2", "n1", |status| status["message"] = json!("x"));
        h.set_by("operator-2", "n1", |status| status["observedGeneration"] = json!(7));
    }),
    ("SAFE-2", "an operator writes that never led", |h| {
        h.happens("operator-9", What::OperatorStarted);
        h.change("operator-9", "nodes", "n3", |node| {
            node["metadata"]["annotations"] = json!({ names::CORDON_NOTE: "x" })
        });
    }),
    ("SAFE-2", "a write is sent after another has taken the Lease", |h| {
        h.admitted("n1");
        h.happens("operator-2", What::OperatorStarted);
        h.wait(5);
        h.lease("operator-2", "term-2", 2, &["n1"]);
        h.wait(1);
        h.cordons("n1");
    }),
    ("SAFE-3", "a cordon without an intent", |h| {
        h.pending("n1");
        h.renews(&["n1"]);
        h.set("n1", |status| (status["epoch"], status["leader"]) = (json!(1), json!(TERM)));
        h.cordons("n1");
    }),
    ("SAFE-3", "a reboot long after its intent was withdrawn", |h| {
        h.until_drained("n1");
        h.rebooting("n1");
        h.to("n1", "Withdrawing", None);
        h.wait(5);
        h.happens("n1", What::Acts(History::cause("n1", 1)));
    }),
    ("SAFE-3", "a cordon by a term that has not adopted the run", |h| {
        h.admitted("n1");
        h.happens("operator-2", What::OperatorStarted);
        h.lease("operator-2", "term-2", 2, &["n1"]);
        h.looks("n1");
        h.change("operator-2", "nodes", "n1", |node| {
            node["spec"]["unschedulable"] = json!(true);
            node["metadata"]["annotations"] = json!({ names::CORDONED_BY: "run-n1" });
        });
    }),
    ("SAFE-4", "one node more than the limit", |h| {
        h.until_drained("n1");
        h.pending("n2");
        h.renews(&["n1", "n2"]);
    }),
    ("SAFE-4", "a node that somebody cordoned counts", |h| {
        h.change("person", "nodes", "n3", |node| node["spec"]["unschedulable"] = json!(true));
        h.wait(20);
        h.pending("n1");
        h.renews(&["n1"]);
    }),
    ("SAFE-4", "a second failure domain is opened", |h| {
        h.policy(json!({ "maxUnavailable": 4 }));
        h.change("person", "nodes", "n2", |node| {
            node["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!("b");
        });
        h.wait(60);
        h.pending("n1");
        h.pending("n2");
        h.renews(&["n1", "n2"]);
    }),
    ("SAFE-4", "more starts than maxStarts", |h| {
        h.policy(json!({ "maxUnavailable": 4, "maxStarts": { "count": 1, "per": "1h" } }));
        h.wait(60);
        h.pending("n1");
        h.pending("n2");
        h.renews(&["n1", "n2"]);
    }),
    ("SAFE-4", "a slot is released while its run acts", |h| {
        h.until_drained("n1");
        h.renews(&[]);
    }),
    ("SAFE-4", "a run is admitted without a slot", |h| {
        h.pending("n1");
        h.cordoning("n1");
    }),
    ("SAFE-4", "an older term's slot is completed", |h| {
        h.pending("n1");
        h.renews(&["n1"]);
        h.happens("operator-2", What::OperatorStarted);
        h.lease("operator-2", "term-2", 2, &["n1"]);
        h.lease(OPERATOR, "term-3", 3, &["n1"]);
        h.set("n1", |status| (status["epoch"], status["leader"]) = (json!(3), json!("term-3")));
        let plan = plan(h);
        h.set("n1", |status| {
            status["step"] = json!("Cordoning");
            status["plan"] = plan;
        });
    }),
    ("SAFE-5", "a start while everything is paused", |h| {
        h.pause("all");
        h.wait(20);
        h.pending("n1");
        h.renews(&["n1"]);
    }),
    ("SAFE-5", "a start on a node that people hold", |h| {
        h.change("person", "nodes", "n1", |node| {
            node["metadata"]["labels"][names::HOLD] = json!("x")
        });
        h.wait(20);
        h.pending("n1");
        h.renews(&["n1"]);
    }),
    ("SAFE-5", "a start without a trigger", |h| {
        h.pending("n3");
        h.renews(&["n3"]);
    }),
    ("SAFE-5", "a start on a report that is long stale", |h| {
        h.wait(3600);
        h.renews(&[]);
        h.pending("n1");
        h.renews(&["n1"]);
    }),
    ("SAFE-5", "a start in a storm", |h| {
        for node in ["n3", "n4"] {
            h.reports(node, &format!("{node}-1"), true, true);
        }
        h.wait(20);
        h.renews(&[]);
        h.pending("n1");
        h.renews(&["n1"]);
    }),
    ("SAFE-5", "a start in a meltdown", |h| {
        h.policy(json!({ "maxUnavailable": 100 }));
        h.change("person", "configmaps", "rerail-system/rerail-config", |map| {
            map["data"]["config.yaml"] = json!("maxUnavailable: 100");
        });
        for node in ["n5", "n6", "n7", "n8", "n9"] {
            h.node(node, false);
            h.reports(node, "x", false, false);
        }
        h.wait(60);
        h.renews(&[]);
        h.pending("n1");
        h.renews(&["n1"]);
    }),
    ("SAFE-5", "an eviction while the run is paused", |h| {
        h.admitted("n1");
        h.cordons("n1");
        h.to("n1", "Draining", Some("Drain"));
        h.pause("node/n1");
        h.wait(11);
        h.renews(&["n1"]);
        h.evicts("n1", "default/web");
    }),
    ("SAFE-5", "an eviction after the policy was suspended", |h| {
        h.admitted("n1");
        h.cordons("n1");
        h.to("n1", "Draining", Some("Drain"));
        h.change("person", "remediationpolicies", "p", |policy| {
            policy["spec"]["suspended"] = json!(true);
        });
        h.wait(11);
        h.renews(&["n1"]);
        h.evicts("n1", "default/web");
    }),
    ("SAFE-5", "a reboot after the policy was deleted", |h| {
        h.until_drained("n1");
        h.delete("person", "remediationpolicies", "p");
        h.wait(60);
        h.renews(&["n1"]);
        h.rebooting("n1");
    }),
    ("SAFE-6", "a person's cordon is lifted", |h| {
        h.until_verified("n1");
        h.change("person", "nodes", "n1", |node| node["spec"]["unschedulable"] = json!(false));
        h.change("person", "nodes", "n1", |node| node["spec"]["unschedulable"] = json!(true));
        h.to("n1", "Uncordoning", Some("Uncordon"));
        h.closes("n1", "Succeeded");
    }),
    ("SAFE-6", "a node is marked that was cordoned already", |h| {
        h.admitted("n1");
        h.change("person", "nodes", "n1", |node| node["spec"]["unschedulable"] = json!(true));
        h.cordons("n1");
    }),
    ("SAFE-6", "a condition of a kubelet is changed", |h| {
        h.change(OPERATOR, "nodes", "n3", |node| {
            node["status"]["conditions"][0]["status"] = json!("Unknown");
        });
    }),
    ("SAFE-24", "an alert is told that does not fire", |h| {
        h.tells_alert("n3", "True", "AlertIsFiring");
    }),
    ("SAFE-24", "an alert that ended long ago is told", |h| {
        h.alert("n3", true);
        h.tells_alert("n3", "True", "AlertIsFiring");
        h.alert("n3", false);
        h.tells_alert("n3", "False", "AlertIsNotFiring");
        h.wait(300);
        h.renews(&[]);
        h.tells_alert("n3", "True", "AlertIsFiring");
    }),
    ("SAFE-24", "an alert that fires on is told to have ended", |h| {
        h.alert("n3", true);
        h.tells_alert("n3", "True", "AlertIsFiring");
        h.wait(200);
        h.renews(&[]);
        h.tells_alert("n3", "False", "AlertIsNotFiring");
    }),
    ("SAFE-24", "a condition is taken off that nobody has waited for", |h| {
        h.alert("n3", true);
        h.tells_alert("n3", "True", "AlertIsFiring");
        h.change(OPERATOR, "nodes", "n3", |node| {
            node["status"]["conditions"].as_array_mut().unwrap().pop();
        });
    }),
    ("SAFE-6", "a label is changed", |h| {
        h.change(OPERATOR, "nodes", "n3", |node| node["metadata"]["labels"]["a"] = json!("b"));
    }),
    ("SAFE-7", "an eviction after somebody else has claimed the node", |h| {
        h.admitted("n1");
        h.cordons("n1");
        h.to("n1", "Draining", Some("Drain"));
        h.change("autoscaler", "nodes", "n1", |node| {
            node["spec"]["taints"] =
                json!([{ "key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule" }]);
        });
        h.wait(11);
        h.renews(&["n1"]);
        h.evicts("n1", "default/web");
    }),
    ("SAFE-7", "a pod is deleted past its budget", |h| {
        h.write("person", "poddisruptionbudgets", json!({ "metadata": { "name": "web", "namespace": "default" },
            "spec": { "selector": { "matchLabels": { "app": "web" } } }, "status": { "disruptionsAllowed": 0 } }));
        h.until_drained("n1");
    }),
    ("SAFE-9", "a cordon without a look", |h| {
        h.wait(60);
        h.renews(&[]);
        h.admitted("n1");
        h.cordons_blindly("n1");
    }),
    ("SAFE-13", "a cordon on a node of another UID", |h| {
        h.admitted("n1");
        h.delete("person", "nodes", "n1");
        h.node("n1", true);
        h.change("n1", "nodes", "n1", |node| node["metadata"]["uid"] = json!("other"));
        h.cordons("n1");
    }),
    ("SAFE-14", "an attempt is not on record when its run has ended", |h| {
        h.until_verified("n1");
        h.to("n1", "Uncordoning", Some("Uncordon"));
        h.closes_with("n1", "Succeeded", Vec::new());
    }),
    ("SAFE-14", "a second reboot before the first is on record", |h| {
        h.until_booted("n1");
        h.to("n1", "Withdrawing", None);
        h.reboots_again("n1", 2);
    }),
    ("SAFE-14", "a third reboot where two may be", |h| {
        h.until_booted("n1");
        for attempt in [2, 3] {
            h.remembers("n1", attempt - 1);
            h.to("n1", "Withdrawing", None);
            h.reboots_again("n1", attempt);
            h.boots("n1", &format!("n1-{}", attempt + 1));
            h.reports("n1", &format!("n1-{}", attempt + 1), true, false);
        }
    }),
    ("SAFE-15", "the frozen plan is changed", |h| {
        h.until_drained("n1");
        h.set("n1", |status| status["plan"]["attempts"]["max"] = json!(9));
    }),
    ("SAFE-15", "a remedy more than the plan has", |h| {
        h.until_booted("n1");
        h.to("n1", "Withdrawing", None);
        h.rebooting("n1");
    }),
    ("SAFE-16", "a run of more than 16 KiB", |h| {
        h.admitted("n1");
        h.change(OPERATOR, "noderemediations", "n1", |run| {
            run["metadata"]["annotations"] = json!({ "x": "x".repeat(17_000) });
        });
    }),
    ("SAFE-17", "a malformed priority outranks", |h| {
        h.pending("n1");
        h.renews(&["n1"]);
        let plan = plan(h);
        h.set("n1", |status| {
            (status["epoch"], status["leader"]) = (json!(1), json!(TERM));
            (status["step"], status["priority"]) = (json!("Cordoning"), json!(0));
            status["causes"] = json!([{ "conditionType": SICK, "reason": "", "message": "[P0 it hangs", "priority": 0,
                "since": "2026-01-01T00:00:00Z" }]);
            status["plan"] = plan;
        });
    }),
    ("SAFE-18", "from Draining to Verifying", |h| {
        h.until_drained("n1");
        h.to("n1", "Verifying", None);
    }),
    ("SAFE-19", "verified without a boot", |h| {
        h.until_drained("n1");
        h.rebooting("n1");
        h.to("n1", "Verifying", None);
        h.probes("n1", 1);
        h.wait(70);
        h.renews(&["n1"]);
        h.to("n1", "Uncordoning", Some("Uncordon"));
    }),
    ("SAFE-19", "verified, and Ready for a moment only", |h| {
        h.until_booted("n1");
        h.to("n1", "Verifying", None);
        h.probes("n1", 1);
        h.to("n1", "Uncordoning", Some("Uncordon"));
    }),
    ("SAFE-19", "verified without a probe", |h| {
        h.until_booted("n1");
        h.renews(&["n1"]);
        h.to("n1", "Verifying", None);
        h.wait(70);
        h.renews(&["n1"]);
        h.to("n1", "Uncordoning", Some("Uncordon"));
    }),
    ("SAFE-19", "verified, and still sick", |h| {
        h.until_booted("n1");
        h.happens("n1", What::Sick { condition: SICK.to_owned(), on: true });
        h.renews(&["n1"]);
        h.to("n1", "Verifying", None);
        h.probes("n1", 1);
        h.wait(70);
        h.renews(&["n1"]);
        h.to("n1", "Uncordoning", Some("Uncordon"));
    }),
    ("SAFE-20", "an end without a closing write", |h| {
        h.until_verified("n1");
        h.to("n1", "Uncordoning", Some("Uncordon"));
        h.change("person", "nodes", "n1", |node| node["metadata"]["annotations"] = json!({}));
        h.to("n1", "Succeeded", None);
    }),
    ("SAFE-20", "a run without finalizer acts", |h| {
        h.pending("n1");
        h.change(OPERATOR, "noderemediations", "n1", |run| {
            run["metadata"]["finalizers"] = json!([])
        });
        h.renews(&["n1"]);
        h.cordoning("n1");
    }),
    ("SAFE-21", "a reboot with pods on the node", |h| {
        h.admitted("n1");
        h.cordons("n1");
        h.to("n1", "Draining", Some("Drain"));
        h.wait(11);
        h.renews(&["n1"]);
        h.rebooting("n1");
    }),
    ("SAFE-22", "two runs of one node", |h| {
        h.policy(json!({ "maxUnavailable": 4 }));
        h.wait(20);
        h.renews(&[]);
        h.admitted("n1");
        h.write(
            "person",
            "noderemediations",
            json!({ "metadata": { "name": "second", "uid": "run-second" },
            "spec": { "nodeName": "n1", "nodeUID": "uid-n1", "policyName": "p" } }),
        );
        h.renews(&["n1", "second"]);
    }),
    ("SAFE-23", "a policy in DryRun admits", |h| {
        h.change("person", "remediationpolicies", "p", |policy| {
            policy["spec"]["mode"] = json!("DryRun")
        });
        h.wait(20);
        h.pending("n1");
        h.renews(&["n1"]);
    }),
    ("LIVE-1", "a run stays where it is", |h| {
        h.until_booted("n1");
        h.renews(&["n1"]);
        h.judge.at_rest(&h.store, &[].into(), h.now);
    }),
    ("LIVE-3", "a mark without a run", |h| {
        h.change("person", "nodes", "n3", |node| {
            node["metadata"]["annotations"] = json!({ names::CORDONED_BY: "gone" })
        });
        h.rests_for(&[]);
    }),
    ("LIVE-4", "a drain that never ends", |h| {
        h.until_drained("n1");
        h.set("n1", |status| {
            status["steps"][0]["deadline"] = json!("2026-01-01T00:10:00Z");
        });
        h.wait(3600);
        h.rests_with(&["n1"], &[]);
    }),
    ("LIVE-5", "a slot is left after the release of all", |h| {
        h.pending("n1");
        h.renews(&["n1"]);
        h.judge.released_all(&h.store, h.now);
    }),
    ("LIVE-6", "somebody less urgent is taken first", |h| {
        h.change("n2", "nodes", "n2", |node| {
            node["status"]["conditions"][1]["message"] = json!("[P1] it burns")
        });
        h.wait(20);
        h.renews(&[]);
        h.pending("n1");
        h.renews(&["n1"]);
    }),
    ("LIVE-6", "a node waits and nobody says so", |h| {
        h.wait(120);
        h.renews(&[]);
        h.judge.at_rest(&h.store, &[].into(), h.now);
    }),
    ("LIVE-7", "a slot of a run that has ended", |h| {
        h.pending("n1");
        h.renews(&["n1"]);
        h.judge.at_rest(&h.store, &[].into(), h.now);
    }),
    ("LIVE-8", "nobody leads", |h| {
        h.everybody_waits();
        h.wait(3600);
        h.judge.at_rest(&h.store, &[].into(), h.now);
    }),
    ("LIVE-9", "a machine stays sick", |h| h.rests_for(&["n2"])),
    ("LIVE-9", "there is no rest", |h| {
        h.heals("n1");
        h.rests_for(&[]);
        h.change(OPERATOR, "noderemediations", "n1", |run| {
            run["metadata"]["finalizers"] = json!([])
        });
        h.rests_for(&[]);
    }),
    ("LIVE-10", "two starts where one may be", |h| {
        h.policy(json!({ "maxUnavailable": 4 }));
        h.change("status", "remediationpolicies", "p", |policy| {
            policy["status"] = json!({ "breaker": [{ "conditionType": SICK, "state": "Probing", "allowed": 0,
                "since": "2026-01-01T00:00:30Z" }] });
        });
        h.wait(60);
        h.renews(&[]);
        h.pending("n1");
        h.pending("n2");
        h.renews(&["n1", "n2"]);
        h.cordoning("n1");
        h.cordoning("n2");
        h.change(OPERATOR, "remediationpolicies", "p", |policy| {
            policy["status"]["counts"] = json!({ "active": 2 });
        });
    }),
    ("LIVE-11", "a node is probed again and again", |h| {
        h.until_verified("n1");
        for _ in 0..30 {
            h.delete("kubelet", "pods", "rerail-node/probe-run-n1-1");
            h.probes("n1", 1);
        }
        h.to("n1", "Uncordoning", Some("Uncordon"));
        h.closes("n1", "Succeeded");
        h.to("n1", "Succeeded", None);
        h.rests_for(&[]);
    }),
    ("SELF-1", "the operator freezes a run of its own", |h| {
        h.until_drained("n1");
        h.set("n1", |status| {
            status["frozen"] =
                json!({ "time": "2026-01-01T00:00:00Z", "invariant": "Intent", "message": "x" });
        });
    }),
];

/// What the policy says, frozen.
fn plan(h: &History) -> serde_json::Value {
    let policy = h.get("remediationpolicies", "p");
    let spec: rerail_api::policy::RemediationPolicySpec =
        serde_json::from_value(policy["spec"].clone()).unwrap();
    let spec = serde_json::to_value(spec).unwrap();
    json!({ "policyGeneration": 1, "hash": "x", "triggers": spec["triggers"], "drain": spec["drain"],
        "remedies": spec["remedies"], "verify": spec["verify"], "attempts": spec["attempts"] })
}

impl History {
    /// Rest, with these to be cured.
    fn rests_for(&mut self, curable: &[&str]) {
        self.rests_with(&[], curable);
    }

    fn rests_with(&mut self, slots: &[&str], curable: &[&str]) {
        self.renews(slots);
        self.everybody_waits();
        let curable = curable.iter().map(|name| (*name).to_owned()).collect();
        self.judge.at_rest(&self.store, &curable, self.now);
    }

    fn everybody_waits(&mut self) {
        let waiting = json!({ "waiting": [{ "node": "n1" }, { "node": "n2" }] });
        self.change("status", "remediationpolicies", "p", |policy| policy["status"] = waiting);
    }
}
