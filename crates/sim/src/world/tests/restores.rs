//! What the world does after etcd was restored from a backup.

use super::*;

const TWO: &str = "{name: two, nodes: [{prefix: n-, count: 2}]}";

fn back_up(world: &World) -> crate::backup::Backup {
    world.server().with(|store, _| store.backup())
}

fn restore(world: &World, backup: &crate::backup::Backup) {
    let server = world.server();
    server.with(|store, _| store.restore(backup));
    let (at, subject) = (server.now(), String::new());
    server.happened(&Happening { at, subject, what: What::Restored });
}

#[tokio::test(start_paused = true)]
async fn what_kubelets_and_detectors_know_is_told_again() {
    let world = world_of(TWO, 5).await;
    let backup = back_up(&world);
    let sick = "{condition: KernelDeadlock, source: onNode, renewed: false}";
    act(&world, &format!("sicken: {{nodes: [n-001], with: {sick}}}"));
    let old = world.machine("n-002").unwrap().boot_id;
    world.power("n-002", PowerAct::Cycle).unwrap();
    until("the kernel has started", || world.machine("n-002").unwrap().boot_id != old).await;
    let booted = world.machine("n-002").unwrap().boot_id;
    until("the boot is told", || node(&world, "n-002")["status"]["nodeInfo"]["bootID"] == booted)
        .await;
    until("ready", || known::is_ready(&node(&world, "n-002"))).await;
    restore(&world, &backup);
    assert_eq!(node(&world, "n-002")["status"]["nodeInfo"]["bootID"], old, "as it was");
    assert_eq!(known::status_of(&node(&world, "n-001"), "KernelDeadlock"), "", "as it was");
    until("the condition is told", || {
        known::status_of(&node(&world, "n-001"), "KernelDeadlock") == "True"
    })
    .await;
    until("the boot is told again", || {
        node(&world, "n-002")["status"]["nodeInfo"]["bootID"] == booted
    })
    .await;
    no_complaints(&world);
}

/// Their machine is another one now, whose detector never knew of it.
#[tokio::test(start_paused = true)]
async fn conditions_of_a_machine_that_was_replaced_are_denied() {
    let world = world_of(TWO, 5).await;
    act(&world, "sicken: {nodes: [n-001], with: {condition: KernelDeadlock, source: onNode}}");
    let backup = back_up(&world);
    act(&world, "replaceMachine: {nodes: [n-001]}");
    seconds(60).await;
    assert_eq!(known::status_of(&node(&world, "n-001"), "KernelDeadlock"), "");
    restore(&world, &backup);
    assert_eq!(known::status_of(&node(&world, "n-001"), "KernelDeadlock"), "True", "as it was");
    until("the condition is denied", || {
        known::status_of(&node(&world, "n-001"), "KernelDeadlock") == "False"
    })
    .await;
    no_complaints(&world);
}
