//! What `rerail operator` and `rerail alerts` have in common: how a process that leads, or stands by, is
//! begun, watched and ended.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use kube::Config;
use rerail_api::duration::{DurationError, GoDuration};
use rerail_core::lease::Times;
use rerail_operator::{
    alerts::Pushes,
    client::{Around, Clients},
    deps::{Deps, Settings, SteadyClock, SystemBootClock},
    record::metrics::Metrics,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{CommandError, connect, fetch::HttpFetch, http, watchdog::ThreadWatchdog, webhook};

/// Where metrics are served if nothing else is said.
pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);

/// How such a process is run.
#[derive(Debug, Args)]
pub struct ProcessArguments {
    /// Kubeconfig file; without it KUBECONFIG, ~/.kube/config or the Pod's own service account.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Serve Sciuro's metrics by their names, too.
    #[arg(long, env = "RERAIL_SCIURO_METRICS")]
    pub sciuro_metrics: bool,
    #[command(flatten)]
    push: PushArguments,
    #[command(flatten)]
    election: ElectionArguments,
}

/// The port to which Alertmanager sends webhooks.
#[derive(Debug, Args)]
struct PushArguments {
    /// Where webhooks are taken that have an AlertSource polled at once, at /v1/alertsources/NAME.
    /// Default: nowhere.
    #[arg(long, env = "RERAIL_ALERTS_LISTEN", value_name = "ADDRESS")]
    alerts_listen: Option<SocketAddr>,
    /// Certificate chain of that port, in PEM; read anew when it changes. Default: no TLS.
    #[arg(
        long,
        env = "RERAIL_ALERTS_TLS_CERT_FILE",
        requires_all = ["alerts_tls_key_file", "alerts_listen"],
        value_name = "FILE"
    )]
    alerts_tls_cert_file: Option<PathBuf>,
    /// Key of that certificate, in PEM.
    #[arg(
        long,
        env = "RERAIL_ALERTS_TLS_KEY_FILE",
        requires = "alerts_tls_cert_file",
        value_name = "FILE"
    )]
    alerts_tls_key_file: Option<PathBuf>,
    /// Authorities whose certificates the clients of that port have to show, in PEM; read anew when it
    /// changes. Default: none is asked for.
    #[arg(
        long,
        env = "RERAIL_ALERTS_CLIENT_CA_FILE",
        requires = "alerts_tls_cert_file",
        value_name = "FILE"
    )]
    alerts_client_ca_file: Option<PathBuf>,
}

impl PushArguments {
    fn files(&self) -> Option<webhook::Files> {
        let (certificate, key) = (&self.alerts_tls_cert_file, &self.alerts_tls_key_file);
        let (certificate, key) = certificate.clone().zip(key.clone())?;
        Some(webhook::Files { certificate, key, client_ca: self.alerts_client_ca_file.clone() })
    }
}

/// The times of leader election, spelt as kube-controller-manager spells them.
#[derive(Debug, Args)]
struct ElectionArguments {
    /// For how long nobody else takes a Lease that was renewed.
    #[arg(long = "leader-elect-lease-duration", env = "RERAIL_LEADER_ELECT_LEASE_DURATION", default_value = "15s", value_parser = duration)]
    lease_duration: Duration,
    /// For how long after its last renewal a leader acts.
    #[arg(long = "leader-elect-renew-deadline", env = "RERAIL_LEADER_ELECT_RENEW_DEADLINE", default_value = "10s", value_parser = duration)]
    renew_deadline: Duration,
    /// Between two renewals.
    #[arg(long = "leader-elect-retry-period", env = "RERAIL_LEADER_ELECT_RETRY_PERIOD", default_value = "5s", value_parser = duration)]
    retry_period: Duration,
}

impl ElectionArguments {
    fn times(&self) -> Result<Times, CommandError> {
        let times = Times::new(self.lease_duration, self.renew_deadline, self.retry_period);
        times.map_err(CommandError::Election)
    }
}

/// A duration as Kubernetes writes it, such as `15s` or `1m30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: GoDuration = text.parse().map_err(|error: DurationError| error.to_string())?;
    Duration::try_from(parsed.value()).map_err(|error| error.to_string())
}

impl ProcessArguments {
    /// The times of leader election.
    pub fn election(&self) -> Result<Times, CommandError> {
        self.election.times()
    }

    /// Connections, and everything else from outside.
    pub fn begin(
        &self,
        host: &str,
        config: Config,
        settings: Settings,
        layer: &impl Around,
    ) -> Result<(Clients, Arc<Deps>), CommandError> {
        let metrics = Metrics::default();
        if self.sciuro_metrics {
            metrics.speak_as_sciuro();
        }
        let clients = Clients::with_layer(config, &metrics, layer).map_err(Box::new)?;
        let clock = SteadyClock::start();
        let identity = connect::identity(host, &clock);
        let deps = Arc::new(Deps {
            clock: Box::new(clock),
            boot_clock: Arc::new(SystemBootClock),
            watchdog: Box::new(ThreadWatchdog::start().map_err(CommandError::Watchdog)?),
            identity,
            fetch: Arc::new(HttpFetch::default()),
            pushes: Arc::<Pushes>::default(),
            settings,
            metrics,
        });
        Ok((clients, deps))
    }

    /// Serves metrics and probes, and takes webhooks where that is wanted.
    pub async fn serve(&self, listen: SocketAddr, deps: &Arc<Deps>) -> Result<(), CommandError> {
        http::serve(listen, deps.clone()).await?;
        if let Some(address) = self.push.alerts_listen {
            webhook::serve(address, self.push.files(), deps.clone()).await?;
        }
        Ok(())
    }
}

/// Resolves when the process is told to end.
pub fn told_to_end() -> Result<impl Future<Output = ()>, CommandError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(CommandError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CommandError::Signals)?;
    Ok(async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
