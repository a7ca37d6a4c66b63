//! The ConfigMap `rerail-config`: missing, garbage, with a field that nobody knows. Nothing starts
//! without a good one; a bad one after a good one changes nothing.

use std::sync::Arc;

use rerail_core::step::Step;
use rerail_e2e::{Cluster, Operator, OperatorOptions};
use rerail_fleet::Pool;

use crate::{
    hands::quiet,
    queue::{QUICK, wide},
    shared::{Shared, Stage, by_itself},
};

/// Texts that are no configuration, and a word that tells what is wrong with each.
const BAD: [(&str, &str); 3] = [
    ("- a list, and no fields", "config.yaml"),
    ("maxUnavailable: 20%\nmaxUnavailble: 10%\n", "maxUnavailble"),
    ("maxUnavailable: many\n", "maxUnavailable"),
];

/// Waits until the policy says that the configuration is not in force as it stands: the reason, and a
/// word of the message.
async fn says(stage: &Stage, reason: &str, word: &str) {
    stage
        .policy_when(&format!("{reason}, {word}"), |status| {
            status.conditions.iter().any(|c| c.reason == reason && c.message.contains(word))
        })
        .await;
}

#[test]
fn nothing_starts_without_a_good_configuration_and_the_last_good_one_stays_in_force() {
    by_itself(async {
        let cluster = Cluster::start(wide(1)).await.unwrap();
        cluster.unconfigure().await.unwrap();
        let operator = Operator::start(&cluster.plane, OperatorOptions::default()).await.unwrap();
        let nodes = cluster.add_pool(&Pool::new("config", 5, 1)).await.unwrap();
        let stage = Stage { shared: Arc::new(Shared { cluster, operator }), pool: "config", nodes };
        stage.budgeted("{maxUnavailable: 1}", QUICK).await;
        stage.sicken(&stage.nodes[0], "[P6] deadlock").await;
        stage.waiting(&stage.nodes[0], "NotConfigured").await;
        says(&stage, "NotConfigured", "rerail-config").await;
        for (text, word) in BAD {
            stage.cluster().configure(text).await.unwrap();
            says(&stage, "NotConfigured", word).await;
        }
        quiet().await;
        assert_eq!(stage.admissions().await.len(), 0);

        stage.cluster().configure("maxUnavailable: 20%\n").await.unwrap();
        stage.run_in(&stage.nodes[0], Step::Succeeded).await;
        for ((text, word), node) in BAD.into_iter().zip(&stage.nodes[1..]) {
            stage.cluster().configure(text).await.unwrap();
            says(&stage, "LastGoodInForce", word).await;
            stage.sicken(node, "[P6] deadlock").await;
            stage.run_in(node, Step::Succeeded).await;
        }
        stage.cluster().unconfigure().await.unwrap();
        says(&stage, "LastGoodInForce", "rerail-config").await;
        stage.sicken(&stage.nodes[4], "[P6] deadlock").await;
        stage.run_in(&stage.nodes[4], Step::Succeeded).await;

        // It lives in memory only.
        let (operator, plane) = (&stage.shared.operator, &stage.cluster().plane);
        operator.terminate(plane).unwrap();
        operator.start_again(plane).await.unwrap();
        stage.sicken(&stage.nodes[0], "[P6] deadlock again").await;
        stage.waiting(&stage.nodes[0], "NotConfigured").await;
        stage.cluster().configure("{}\n").await.unwrap();
        stage.everything_is_healed().await;
        stage.finish().await;
    });
}
