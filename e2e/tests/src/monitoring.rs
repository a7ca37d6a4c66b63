//! A real Prometheus and real Alertmanagers beside a control plane, with the rules and the route of
//! `examples/monitoring/`, and a page of metrics that plays node exporter and kube-state-metrics.

mod alertmanagers;
mod packages;
mod page;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rerail_controlplane::{Component, ControlPlane};

use crate::{Error, get::get, operator::free_port, wait_for};
pub use alertmanagers::{
    AlertmanagerOptions, Alertmanagers, alert, alert_source, alertmanager, ended,
};
pub use packages::Programs;
pub use page::{Machine, Page};

/// How long a server may take to begin.
const STARTS: Duration = Duration::from_secs(60);

/// What there shall be.
#[derive(Debug, Clone, Default)]
pub struct MonitoringOptions {
    /// The Alertmanagers.
    pub alertmanagers: AlertmanagerOptions,
    /// More rules, beside the examples: the groups of a rule file, as YAML.
    pub rules: Option<String>,
}

/// A running Prometheus with its Alertmanagers. They end with the control plane.
#[derive(Debug)]
pub struct Monitoring {
    /// Addresses of the Alertmanagers.
    pub alertmanagers: Vec<String>,
    /// Address of the Prometheus.
    pub prometheus: String,
    /// What it scrapes.
    pub page: Arc<Page>,
    /// `amtool`, `promtool`.
    pub programs: Programs,
}

/// Name of the process and log of the Prometheus.
pub const PROMETHEUS: &str = "prometheus";

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/monitoring")
}

impl Monitoring {
    /// Starts everything, and waits until Prometheus has told every Alertmanager of the deadman alert.
    ///
    /// # Errors
    /// If the packages cannot be had, or a server does not begin.
    pub async fn start(plane: &ControlPlane, options: MonitoringOptions) -> Result<Self, Error> {
        let Alertmanagers { urls: alertmanagers, programs } =
            Alertmanagers::start(plane, options.alertmanagers).await?;
        let page = Page::serve().await?;
        let dir = dir(plane)?;
        let prometheus = address()?;
        let rules =
            write(&dir, "more-rules.yaml", options.rules.as_deref().unwrap_or("groups: []"))?;
        let config = scrape(&page.address, &alertmanagers, &rules);
        let config = write(&dir, "prometheus.yaml", &config)?;
        run(
            plane,
            PROMETHEUS,
            vec![
                programs.prometheus().display().to_string(),
                format!("--config.file={}", config.display()),
                format!("--storage.tsdb.path={}", dir.join("tsdb").display()),
                format!("--web.listen-address={prometheus}"),
                "--rules.alert.resend-delay=1s".into(),
            ],
        )?;
        let prometheus = format!("http://{prometheus}");
        let monitoring = Monitoring { alertmanagers, prometheus, page, programs };
        for alertmanager in &monitoring.alertmanagers {
            wait_for("the deadman alert in each Alertmanager", STARTS, || async {
                let host = alertmanager.trim_start_matches("http://");
                let alerts = get(host, "/api/v2/alerts").await?;
                if alerts.contains("Watchdog") { Ok(()) } else { Err(alerts) }
            })
            .await?;
        }
        Ok(monitoring)
    }
}

/// Where the servers have their files.
fn dir(plane: &ControlPlane) -> Result<PathBuf, Error> {
    let dir = plane.dir().join("monitoring");
    std::fs::create_dir_all(&dir).map_err(|error| Error::File(dir.display().to_string(), error))?;
    Ok(dir)
}

fn run(plane: &ControlPlane, name: &str, argv: Vec<String>) -> Result<(), Error> {
    let component = Component {
        name: name.to_owned(),
        argv,
        env: Vec::new(),
        guest: true,
        ..Component::default()
    };
    Ok(plane.run(&component)?)
}

fn address() -> Result<String, Error> {
    let port = free_port().map_err(|error| Error::File("a free port".into(), error))?;
    Ok(format!("127.0.0.1:{port}"))
}

fn write(dir: &Path, name: &str, text: &str) -> Result<PathBuf, Error> {
    let path = dir.join(name);
    std::fs::write(&path, text).map_err(|error| Error::File(path.display().to_string(), error))?;
    Ok(path)
}

fn scrape(page: &str, alertmanagers: &[String], rules: &Path) -> String {
    let targets: Vec<_> =
        alertmanagers.iter().map(|url| url.trim_start_matches("http://")).collect();
    format!(
        "global: {{ scrape_interval: 500ms, evaluation_interval: 500ms }}
rule_files: [{example}, {rules}]
alerting: {{ alertmanagers: [{{ static_configs: [{{ targets: [{targets}] }}] }}] }}
scrape_configs:
- {{ job_name: machines, honor_labels: true, static_configs: [{{ targets: ['{page}'] }}] }}
",
        example = examples().join("rules.yaml").display(),
        rules = rules.display(),
        targets = targets.iter().map(|t| format!("'{t}'")).collect::<Vec<_>>().join(", "),
    )
}
