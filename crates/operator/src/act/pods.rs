//! The Pods that the operator runs on a node: the one that reboots it and the one that proves that
//! Pods start there. Both are bound to the node by name: a cordon keeps the scheduler away.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        AppArmorProfile, Capabilities, Container, Pod, PodSpec, ResourceRequirements,
        SELinuxOptions, SeccompProfile, SecurityContext, Toleration,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, OwnerReference},
    },
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, PostParams},
};
use rerail_api::{NodeRemediation, names};
use rerail_core::{
    policy::RebootMethod,
    reboot_check::{Expected, POD_DEADLINE_SECONDS},
    run::Run,
};

use crate::{
    client::{CallError, call},
    deps::Settings,
};

/// How long the kubelet lets a Pod of ours end by itself.
const GRACE_SECONDS: i64 = 5;

/// How long a probe Pod may take on the node before it counts as failed and is tried again.
const PROBE_DEADLINE_SECONDS: i64 = 120;

/// When a Pod of ours was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// By this call.
    Now,
    /// It was there already: a reply was lost, or an earlier operator made it.
    Before,
}

/// Creates the reboot Pod of the run's latest attempt. Its name is the same for whoever creates it,
/// so it exists at most once; it checks everything again before it acts (SAFE-1, SAFE-3).
pub async fn create_reboot(
    client: &Client,
    object: &NodeRemediation,
    run: &Run,
    method: RebootMethod,
    settings: &Settings,
) -> Result<Made, CallError> {
    let expected = Expected {
        run_name: run.name.clone(),
        run_uid: run.uid.clone(),
        node_name: run.node_name.clone(),
        node_uid: run.node_uid.clone(),
        attempt: run.attempt,
        boot_id_before: run.boot_id_before.clone().unwrap_or_default(),
    };
    let mut args = vec!["agent".to_owned(), "reboot".to_owned()];
    args.extend(expected.to_args());
    let rights = match method {
        RebootMethod::Command => {
            args.push("--".to_owned());
            args.extend(settings.reboot_command.iter().cloned());
            to_enter_the_host()
        }
        RebootMethod::Signal => {
            args.push("--signal".to_owned());
            to_signal_init()
        }
    };
    let mut spec = pod_spec(run, settings, args);
    spec.host_pid = Some(true);
    spec.active_deadline_seconds = Some(POD_DEADLINE_SECONDS);
    for container in &mut spec.containers {
        container.security_context = Some(rights.clone());
    }
    create(
        client,
        object,
        names::reboot_pod_name(&run.uid, run.attempt),
        names::COMPONENT_REBOOT,
        BTreeMap::new(),
        spec,
    )
    .await
}

/// `nsenter` into the namespaces of the host's init needs all of it (kured's method, too).
fn to_enter_the_host() -> SecurityContext {
    SecurityContext { privileged: Some(true), ..SecurityContext::default() }
}

/// Root, for a process of root, and the capability to signal processes of others, should PID 1 be one
/// (kured's `signal` method has that, too). AppArmor's profile for containers lets a container signal
/// only its own processes, so it is asked to stay out, as SELinux is, whose type for that is `spc_t`.
fn to_signal_init() -> SecurityContext {
    let names = |name: &str| Some(vec![name.to_owned()]);
    SecurityContext {
        privileged: Some(false),
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_user: Some(0),
        capabilities: Some(Capabilities { add: names("KILL"), drop: names("ALL") }),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        app_armor_profile: Some(AppArmorProfile {
            type_: "Unconfined".to_owned(),
            ..AppArmorProfile::default()
        }),
        se_linux_options: Some(SELinuxOptions {
            type_: Some("spc_t".to_owned()),
            ..SELinuxOptions::default()
        }),
        ..SecurityContext::default()
    }
}

/// Creates the probe Pod after the run's latest attempt, for the boot that the node shows now: of a later
/// one it proves nothing (SAFE-19).
pub async fn create_probe(
    client: &Client,
    object: &NodeRemediation,
    run: &Run,
    boot_id: &str,
    settings: &Settings,
) -> Result<Made, CallError> {
    let args = vec!["agent".to_owned(), "probe".to_owned()];
    let mut spec = pod_spec(run, settings, args);
    spec.active_deadline_seconds = Some(PROBE_DEADLINE_SECONDS);
    spec.automount_service_account_token = Some(false);
    create(
        client,
        object,
        names::probe_pod_name(&run.uid, run.attempt),
        names::COMPONENT_PROBE,
        [(names::BOOT_ID.to_owned(), boot_id.to_owned())].into(),
        spec,
    )
    .await
}

fn pod_spec(run: &Run, settings: &Settings, args: Vec<String>) -> PodSpec {
    let small = |amount: &str| Quantity(amount.to_owned());
    let container = Container {
        name: "rerail".into(),
        image: Some(settings.node_image.clone()),
        args: Some(args),
        resources: Some(ResourceRequirements {
            requests: Some([("cpu".into(), small("10m")), ("memory".into(), small("32Mi"))].into()),
            limits: Some([("memory".into(), small("64Mi"))].into()),
            ..ResourceRequirements::default()
        }),
        ..Container::default()
    };
    PodSpec {
        node_name: Some(run.node_name.clone()),
        service_account_name: Some(names::NODE_SERVICE_ACCOUNT.into()),
        restart_policy: Some("Never".into()),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        tolerations: Some(vec![Toleration {
            operator: Some("Exists".into()),
            ..Toleration::default()
        }]),
        containers: vec![container],
        ..PodSpec::default()
    }
}

async fn create(
    client: &Client,
    object: &NodeRemediation,
    name: String,
    component: &str,
    annotations: BTreeMap<String, String>,
    spec: PodSpec,
) -> Result<Made, CallError> {
    let labels = [
        (names::MANAGED_BY.to_owned(), names::MANAGED_BY_RERAIL.to_owned()),
        (names::COMPONENT.to_owned(), component.to_owned()),
        (names::RUN_UID.to_owned(), object.uid().unwrap_or_default()),
    ];
    // The garbage collector removes the Pods with their run.
    let owner = OwnerReference {
        block_owner_deletion: None,
        ..object.controller_owner_ref(&()).unwrap_or_default()
    };
    let pod = Pod {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(names::NODE_NAMESPACE.into()),
            labels: Some(labels.into()),
            annotations: Some(annotations).filter(|all| !all.is_empty()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        ..Pod::default()
    };
    let params =
        PostParams { field_manager: Some(names::FIELD_MANAGER.into()), ..PostParams::default() };
    let pods: Api<Pod> = Api::namespaced(client.clone(), names::NODE_NAMESPACE);
    match call(|| format!("create Pod {name}"), pods.create(&params, &pod)).await {
        Ok(_) => Ok(Made::Now),
        // Ours, by its name: a reply was lost, or an earlier operator created it.
        Err(error) if error.is_conflict() => Ok(Made::Before),
        Err(error) => Err(error),
    }
}

/// Deletes one of our Pods by name; gone already is as good.
pub async fn delete(client: &Client, name: &str) -> Result<(), CallError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), names::NODE_NAMESPACE);
    let params = DeleteParams::default().grace_period(GRACE_SECONDS as u32);
    match call(|| format!("delete Pod {name}"), pods.delete(name, &params)).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_signals_is_not_privileged() {
        assert_eq!(to_enter_the_host().privileged, Some(true));
        let rights = to_signal_init();
        assert_eq!(rights.privileged, Some(false));
        assert_eq!(rights.allow_privilege_escalation, Some(false));
        let capabilities = rights.capabilities.unwrap();
        assert_eq!(capabilities.drop.unwrap(), ["ALL"]);
        assert_eq!(capabilities.add.unwrap(), ["KILL"]);
    }
}
