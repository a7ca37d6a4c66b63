//! Power, boots, faults.

use super::*;

const ONE: &str = "{name: one, nodes: [{prefix: n-, count: 1}], daemonSets: [{name: exporter}]}";

/// A world of one machine, and what happens in it from now on.
async fn one() -> (World, Story) {
    let world = world_of(ONE, 5).await;
    let story = Story::of(&world);
    (world, story)
}

fn ready(world: &World) -> bool {
    known::is_ready(&node(world, "n-001"))
}

fn is_boot(what: &What) -> bool {
    matches!(what, What::Boot { .. })
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_boots_has_another_boot_id_and_tells_it_when_its_kubelet_is_up() {
    let (world, story) = one().await;
    let before = world.machine("n-001").unwrap();
    world.power("n-001", PowerAct::Cycle).unwrap();
    assert_eq!(world.machine("n-001").unwrap().power, Power::Booting);
    until("the kernel has started", || story.count(is_boot) == 1).await;
    let up = world.machine("n-001").unwrap();
    assert_ne!(up.boot_id, before.boot_id);
    assert_eq!(up.reported_boot_id, before.boot_id, "not yet told");
    until("the kubelet is up", || world.machine("n-001").unwrap().reported_boot_id == up.boot_id)
        .await;
    let reported = node(&world, "n-001");
    assert_eq!(reported["status"]["nodeInfo"]["bootID"], up.boot_id.as_str());
    assert_eq!(known::status_of(&reported, "Ready"), "False", "the first report is not ready");
    until("ready", || ready(&world)).await;
    let foreign = Cause::Foreign("script".to_owned());
    assert_eq!(
        story.all(),
        [
            What::Down(foreign.clone()),
            What::Ready(false),
            What::Boot { boot_id: up.boot_id, cause: foreign },
            What::Ready(true),
        ]
    );
    no_complaints(&world);
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_power_stays_off_until_it_gets_some() {
    let (world, story) = one().await;
    world.power("n-001", PowerAct::Off).unwrap();
    seconds(600).await;
    assert_eq!(world.machine("n-001").unwrap().power, Power::Off);
    assert_eq!(known::status_of(&node(&world, "n-001"), "Ready"), "Unknown");
    world.power("n-001", PowerAct::Panic).unwrap();
    seconds(600).await;
    assert_eq!(story.count(is_boot), 0, "what is off cannot panic");
    world.power("n-001", PowerAct::On).unwrap();
    until("ready", || ready(&world)).await;
    no_complaints(&world);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_never_boots_or_hangs_at_boot_needs_a_hand() {
    for (fault, power) in [(Fault::NeverBoots, Power::Off), (Fault::HangsAtBoot, Power::Hung)] {
        let (world, story) = one().await;
        world.inject("n-001", fault).unwrap();
        world.power("n-001", PowerAct::Cycle).unwrap();
        seconds(600).await;
        assert_eq!(world.machine("n-001").unwrap().power, power);
        assert_eq!(story.count(is_boot), 0);
        world.power("n-001", PowerAct::Cycle).unwrap();
        until("ready", || ready(&world)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_boots_twice_has_two_boot_ids_more() {
    let (world, story) = one().await;
    world.inject("n-001", Fault::BootsTwice).unwrap();
    world.power("n-001", PowerAct::Cycle).unwrap();
    until("two boots", || story.count(is_boot) == 2).await;
    assert_eq!(story.count(|what| *what == What::Down(Cause::Spontaneous)), 1);
    seconds(600).await;
    assert_eq!(world.machine("n-001").unwrap().boots, 2);
    assert!(ready(&world));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stays_not_ready_reports_and_is_repaired() {
    let (world, _) = one().await;
    world.inject("n-001", Fault::StaysNotReady).unwrap();
    world.power("n-001", PowerAct::Cycle).unwrap();
    seconds(600).await;
    let reported = node(&world, "n-001");
    assert_eq!(known::status_of(&reported, "Ready"), "False");
    let message = &known::condition(&reported, "Ready").unwrap()["message"];
    assert_eq!(message, "container runtime is down");
    assert!(!world.machine("n-001").unwrap().ready);
    act(&world, "{clearFaults: {nodes: [n-001]}}");
    assert!(ready(&world) && world.machine("n-001").unwrap().ready);
}

#[tokio::test(start_paused = true)]
async fn a_node_flaps_as_often_as_it_is_told_to() {
    let (world, story) = one().await;
    world.inject("n-001", Fault::Flaps { times: 3 }).unwrap();
    world.power("n-001", PowerAct::Cycle).unwrap();
    seconds(600).await;
    // Down with the machine, and three flaps.
    assert_eq!(story.count(|what| *what == What::Ready(false)), 4);
    assert_eq!(story.count(|what| *what == What::Ready(true)), 4);
    assert!(ready(&world));
}

#[tokio::test(start_paused = true)]
async fn a_boot_id_may_stay_as_it_was_told() {
    let (world, _) = one().await;
    let before = world.machine("n-001").unwrap().boot_id;
    world.inject("n-001", Fault::SameBootId).unwrap();
    world.power("n-001", PowerAct::Cycle).unwrap();
    seconds(600).await;
    assert!(ready(&world));
    assert_eq!(node(&world, "n-001")["status"]["nodeInfo"]["bootID"], before.as_str());
    assert_ne!(world.machine("n-001").unwrap().boot_id, before);
}

#[tokio::test(start_paused = true)]
async fn a_slow_boot_takes_so_many_times_as_long() {
    let (world, story) = one().await;
    world.inject("n-001", Fault::SlowBoot { factor: 20 }).unwrap();
    world.power("n-001", PowerAct::Cycle).unwrap();
    // The fastest boot takes 20 s.
    seconds(399).await;
    assert_eq!(story.count(is_boot), 0);
    seconds(900).await;
    assert_eq!(story.count(is_boot), 1);
}

fn exporter(world: &World) -> Value {
    let mut pods = pods_on(world, "n-001");
    assert_eq!(pods.len(), 1, "{pods:#?}");
    pods.remove(0)
}

#[tokio::test(start_paused = true)]
async fn containers_are_started_again_after_a_boot() {
    let (world, _) = one().await;
    let before = exporter(&world);
    world.power("n-001", PowerAct::Cycle).unwrap();
    until("the kubelet is up", || {
        let machine = world.machine("n-001").unwrap();
        machine.boot_id == machine.reported_boot_id && machine.boots == 1
    })
    .await;
    assert!(!known::is_ready(&exporter(&world)), "no container runs yet");
    until("restarted", || known::is_ready(&exporter(&world))).await;
    let after = exporter(&world);
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 1);
    no_complaints(&world);
}

#[tokio::test(start_paused = true)]
async fn pods_that_do_not_start_or_return_do_so_when_the_fault_is_cleared() {
    for fault in [Fault::PodsDoNotStart, Fault::DaemonSetsDoNotReturn] {
        let (world, _) = one().await;
        world.inject("n-001", fault).unwrap();
        world.power("n-001", PowerAct::Cycle).unwrap();
        seconds(600).await;
        assert!(ready(&world));
        assert!(!known::is_ready(&exporter(&world)));
        act(&world, "{clearFaults: {nodes: [n-001]}}");
        until("running", || known::is_ready(&exporter(&world))).await;
    }
}

fn sickness(condition: &str) -> Sickness {
    let text = format!("{{condition: {condition}, message: '[P6] {{node}} is sick'}}");
    serde_saphyr::from_str(&text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_condition_is_told_refreshed_and_healed_by_a_boot() {
    let (world, story) = one().await;
    world.sicken("n-001", sickness("AlertManager_X")).unwrap();
    let condition = |field: &str| {
        let node = node(&world, "n-001");
        known::condition(&node, "AlertManager_X").unwrap()[field].as_str().unwrap().to_owned()
    };
    assert_eq!(condition("message"), "[P6] n-001 is sick");
    let (first, since) = (condition("lastHeartbeatTime"), condition("lastTransitionTime"));
    seconds(150).await;
    assert!(condition("lastHeartbeatTime") > first);
    assert_eq!(
        (condition("status"), condition("lastTransitionTime")),
        ("True".into(), since.clone())
    );
    assert_eq!(world.machine("n-001").unwrap().sick.len(), 1);
    world.power("n-001", PowerAct::Cycle).unwrap();
    until("healed", || {
        story.all().contains(&What::Sick { condition: "AlertManager_X".into(), on: false })
    })
    .await;
    assert_eq!(condition("status"), "True", "healed, and not yet told");
    until("told", || condition("status") == "False").await;
    assert_eq!(condition("reason"), "AlertIsNotFiring");
    assert!(condition("lastTransitionTime") > since);
}

#[tokio::test(start_paused = true)]
async fn a_condition_may_stay_and_another_may_come_with_a_boot() {
    let (world, _) = one().await;
    world.sicken("n-001", sickness("A")).unwrap();
    let hardware = Sickness { boot_heals: false, ..sickness("Hardware") };
    world.sicken("n-001", hardware).unwrap();
    world.inject("n-001", Fault::ConditionsStay).unwrap();
    let (condition, reason, message) = ("New".to_owned(), "R".to_owned(), "[P1] m".to_owned());
    world.inject("n-001", Fault::BootsWithCondition { condition, reason, message }).unwrap();
    world.power("n-001", PowerAct::Cycle).unwrap();
    seconds(600).await;
    let status = |kind: &str| known::status_of(&node(&world, "n-001"), kind).to_owned();
    assert_eq!(
        (status("A"), status("Hardware"), status("New")),
        ("True".into(), "True".into(), "True".into())
    );
    world.power("n-001", PowerAct::Cycle).unwrap();
    seconds(600).await;
    assert_eq!(
        (status("A"), status("Hardware"), status("New")),
        ("False".into(), "True".into(), "False".into())
    );
    world.cure("n-001", "Hardware").unwrap();
    assert_eq!(status("Hardware"), "False");
}

#[tokio::test(start_paused = true)]
async fn who_writes_on_the_node_is_silent_while_it_is_down() {
    let (world, _) = one().await;
    let on_node = Sickness { source: Source::OnNode, boot_heals: false, ..sickness("OnNode") };
    world.sicken("n-001", on_node).unwrap();
    world.sicken("n-001", Sickness { boot_heals: false, ..sickness("Elsewhere") }).unwrap();
    world.power("n-001", PowerAct::Off).unwrap();
    let heartbeat = |kind: &str| {
        known::condition(&node(&world, "n-001"), kind).unwrap()["lastHeartbeatTime"].to_string()
    };
    let (here, there) = (heartbeat("OnNode"), heartbeat("Elsewhere"));
    seconds(180).await;
    assert_eq!(heartbeat("OnNode"), here);
    assert!(heartbeat("Elsewhere") > there);
}
