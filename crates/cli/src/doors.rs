//! `rerail retry` and `rerail release`: the doors out of Held that a person opens. Both only write what
//! `kubectl patch` could write; the operator does the rest.

use std::path::PathBuf;

use clap::Args;
use rerail_api::{NodeRemediation, remediation::StepName};
use rerail_core::step::Step;
use rerail_operator::{
    act, check,
    client::{CallError, Clients},
    deps::{Clock, SteadyClock},
    record::metrics::Metrics,
};

use crate::{CommandError, connect};

#[derive(Debug, Args)]
pub struct DoorArguments {
    /// Name of the NodeRemediation, as `kubectl get nrem` shows it.
    run: String,
    /// Kubeconfig file; without it KUBECONFIG, ~/.kube/config or the Pod's own service account.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
}

/// Asks for the whole way once more.
pub async fn retry(arguments: DoorArguments) -> Result<(), CommandError> {
    let (clients, object, step) = found(arguments, "retried").await?;
    if step != Step::Held {
        return Err(CommandError::NotHeld { run: name(&object), step });
    }
    if object.spec.cancel {
        return Err(CommandError::Released { run: name(&object) });
    }
    let policy = &object.spec.policy_name;
    if check::policy(&clients.read, policy).await.map_err(refused)?.is_none() {
        return Err(CommandError::NoPolicy { run: name(&object), policy: policy.clone() });
    }
    let written = act::run::ask_for_retry(&clients.act, &object).await.map_err(refused)?;
    anstream::println!(
        "{}: asked for retry {}; it waits for its turn, and policy {} says in status.waiting what for",
        name(&object),
        written.spec.retries,
        object.spec.policy_name
    );
    Ok(())
}

/// Asks for the node to be given back as it is.
pub async fn release(arguments: DoorArguments) -> Result<(), CommandError> {
    let (clients, object, step) = found(arguments, "released").await?;
    if step.is_terminal() {
        return Err(CommandError::Ended { run: name(&object), step });
    }
    let node = &object.spec.node_name;
    act::run::cancel(&clients.act, &name(&object)).await.map_err(refused)?;
    let what = match step {
        Step::Held => {
            "it is given back, unverified, as soon as it is Ready and bears no hold label"
        }
        Step::Pending | Step::Cordoning | Step::Draining | Step::RollingBack => {
            "what was begun is undone"
        }
        Step::Rebooting | Step::Withdrawing => {
            "its reboot is called back where that is still possible"
        }
        Step::Verifying => "it has been rebooted, and is verified first",
        Step::Uncordoning | Step::Settling | Step::Succeeded | Step::Cancelled | Step::Failed => {
            "it has been given back already"
        }
    };
    anstream::println!("{}: node {node} is released: {what}", name(&object));
    // Not everybody who may release a run may see the kill switch.
    let pauses = check::pauses(&clients.read).await.unwrap_or_default();
    let now = SteadyClock::start().now();
    if let Some(pause) = pauses.in_force(node, &object.spec.policy_name, now) {
        anstream::println!("but it is {}: until that ends nothing is undone", pause.text);
    }
    Ok(())
}

fn refused(error: CallError) -> CommandError {
    match error.code() {
        Some(403) => CommandError::MayNotTouch(error),
        Some(_) | None => CommandError::Call(error),
    }
}

fn name(object: &NodeRemediation) -> String {
    object.metadata.name.clone().unwrap_or_default()
}

async fn found(
    arguments: DoorArguments,
    what: &str,
) -> Result<(Clients, NodeRemediation, Step), CommandError> {
    let config = connect::config(arguments.kubeconfig.as_deref()).await?;
    let clients = Clients::new(config, &Metrics::default()).map_err(Box::new)?;
    let found = check::run_by_name(&clients.read, &arguments.run).await;
    let object = found.map_err(refused)?;
    let Some(object) = object else { return Err(CommandError::NoRun(arguments.run)) };
    let status = object.status.clone().unwrap_or_default();
    if let Some(frozen) = status.frozen {
        let what = what.to_owned();
        return Err(CommandError::Frozen { run: arguments.run, what, message: frozen.message });
    }
    let step = match status.step {
        StepName::Known(step) => step,
        StepName::Unknown(step) => return Err(CommandError::UnknownStep(step)),
    };
    Ok((clients, object, step))
}
