//! Real Alertmanagers, which know of what a test tells them, or of what Prometheus does.

use rerail_controlplane::ControlPlane;
use serde_json::{Value, json};

use super::{Programs, STARTS, address, dir, examples, run, write};
use crate::{
    Error,
    get::{get, post},
    wait_for,
};

/// What Alertmanagers are to be like.
#[derive(Debug, Clone)]
pub struct AlertmanagerOptions {
    /// So many, replicas of each other.
    pub count: usize,
    /// Where the receiver `node-condition-k8s` sends its webhook: address, and a bearer token.
    pub webhook: Option<(String, String)>,
    /// Their `--web.config.file`, as YAML: TLS and passwords. They then answer at https.
    pub web: Option<String>,
}

impl Default for AlertmanagerOptions {
    fn default() -> Self {
        AlertmanagerOptions { count: 1, webhook: None, web: None }
    }
}

/// Name of the process and log of an Alertmanager.
pub fn alertmanager(number: usize) -> String {
    format!("alertmanager-{number}")
}

/// An alert for the receiver of the example.
pub fn alert(name: &str, node: &str, priority: u8) -> Value {
    json!({
        "labels": {
            "alertname": name, "node": node, "priority": priority.to_string(),
            "notify": "node-condition-k8s",
        },
        "annotations": { "summary": format!("{name} of {node}") },
    })
}

/// The same, which has just ended.
pub fn ended(mut alert: Value) -> Value {
    alert["endsAt"] = rerail_fleet::now().to_string().into();
    alert
}

/// An AlertSource of Alertmanagers, as YAML. `rest`: more fields of its spec, two spaces in front of each.
pub fn alert_source(name: &str, urls: &[String], rest: &str) -> String {
    let urls = urls.join(", ");
    format!(
        "apiVersion: rerail.dev/v1alpha1
kind: AlertSource
metadata: {{name: {name}}}
spec:
  alertmanager: {{urls: [{urls}], receiver: node-condition-k8s}}
{rest}"
    )
}

/// Alertmanagers. They end with the control plane.
#[derive(Debug, Clone)]
pub struct Alertmanagers {
    /// Their addresses.
    pub urls: Vec<String>,
    /// `amtool`, `promtool`.
    pub programs: Programs,
}

impl Alertmanagers {
    /// Starts them, and waits until those without TLS answer.
    ///
    /// # Errors
    /// If the packages cannot be had, or one does not begin.
    pub async fn start(plane: &ControlPlane, options: AlertmanagerOptions) -> Result<Self, Error> {
        let programs = tokio::task::spawn_blocking(Programs::get).await;
        let programs = programs.map_err(|error| Error::Packages(error.to_string()))??;
        let dir = dir(plane)?;
        let config = write(&dir, "alertmanager.yaml", &route(options.webhook.as_ref())?)?;
        let web = options.web.map(|web| write(&dir, "web.yaml", &web)).transpose()?;
        let mut urls = Vec::new();
        for number in 0..options.count {
            let address = address()?;
            let name = alertmanager(number);
            let mut arguments = vec![
                format!("--config.file={}", config.display()),
                format!("--storage.path={}", dir.join(&name).display()),
                format!("--web.listen-address={address}"),
                // Replicas that know nothing of each other: silences are not what is tested.
                "--cluster.listen-address=".into(),
            ];
            arguments
                .extend(web.iter().map(|file| format!("--web.config.file={}", file.display())));
            run(plane, &name, programs.run_alertmanager(arguments))?;
            let scheme = if web.is_some() { "https" } else { "http" };
            urls.push(format!("{scheme}://{address}"));
        }
        for url in urls.iter().filter_map(|url| url.strip_prefix("http://")) {
            wait_for("an Alertmanager to answer", STARTS, || get(url, "/-/ready")).await?;
        }
        Ok(Alertmanagers { urls, programs })
    }

    /// Tells one of them of alerts, as Prometheus does.
    ///
    /// # Errors
    /// If it does not take them.
    pub async fn tell(&self, number: usize, alerts: &[Value]) -> Result<(), String> {
        let url = self.urls.get(number).ok_or("there is no such Alertmanager")?;
        let body = Value::from(alerts.to_vec()).to_string();
        post(url.trim_start_matches("http://"), "/api/v2/alerts", None, &body).await.map(drop)
    }
}

/// The route of the example, at the pace of a test, with its webhook.
fn route(webhook: Option<&(String, String)>) -> Result<String, Error> {
    let path = examples().join("alertmanager.yaml");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Error::File(path.display().to_string(), error))?;
    let pace = "  group_wait: 0s\n  group_interval: 1s\n  group_by: ['...']\n";
    let text = text.replace("  group_by: [alertname]\n", pace);
    let Some((url, token)) = webhook else { return Ok(text) };
    let receiver = format!(
        "- name: node-condition-k8s\n  webhook_configs:\n  - url: {url}\n    max_alerts: 0\n    \
         http_config: {{ authorization: {{ credentials: {token} }} }}\n"
    );
    Ok(text.replace("- name: node-condition-k8s\n", &receiver))
}
