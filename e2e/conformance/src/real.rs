//! The real API server, alone: a control plane whose controllers are stopped, so that nobody else writes.

use std::path::Path;
use std::time::Duration;

use http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rerail_controlplane::{ControlPlane, Options};

use crate::Error;
use crate::case::Case;
use crate::play::play;
use crate::record::Record;
use crate::transport::Transport;

/// What writes by itself, and would make answers depend on when it does.
const OTHERS: [&str; 3] = ["kube-controller-manager", "kube-scheduler", "kwok"];

/// For how long the API server is asked for a resource of a CRD that was just applied.
const ESTABLISHED: Duration = Duration::from_secs(30);

/// A real API server with our CRDs and namespaces.
pub struct Real {
    /// Its client, an administrator.
    pub client: kube::Client,
    /// Ends with this value.
    pub plane: ControlPlane,
}

impl Real {
    /// Builds what is not built yet and starts it.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start() -> Result<Self, Error> {
        let made = tokio::task::spawn_blocking(|| -> Result<ControlPlane, Error> {
            let plane = ControlPlane::start(Options::default())?;
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            for path in ["crds", "config/namespaces.yaml"] {
                plane.apply(&root.join(path))?;
            }
            OTHERS.iter().try_for_each(|name| plane.stop_component(name))?;
            Ok(plane)
        });
        let plane = made.await.map_err(|error| Error::Client(error.to_string()))??;
        let client = client(&plane.admin_kubeconfig()).await?;
        let real = Self { client, plane };
        for resource in ["noderemediations", "remediationpolicies", "alertsources"] {
            real.wait_for(&format!("/apis/rerail.dev/v1alpha1/{resource}")).await?;
        }
        Ok(real)
    }

    async fn wait_for(&self, path: &str) -> Result<(), Error> {
        let no_answer = |what: String| Error::NoAnswer { request: format!("GET {path}"), what };
        let established = async {
            loop {
                let request = Request::get(path).body(Vec::new());
                let request = request.map_err(|error| no_answer(error.to_string()))?;
                if Transport::send(&self.client, request).await?.status().is_success() {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let patience = tokio::time::timeout(ESTABLISHED, established).await;
        patience.unwrap_or_else(|_| Err(no_answer("it is not served".to_owned())))
    }

    /// Plays cases, one after the other.
    ///
    /// # Errors
    /// If a case cannot be played to its end.
    pub async fn play(&self, cases: &[Case]) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        for case in cases {
            let played = play(case, &self.client).await;
            match played.broken_off {
                Some(error) => return Err(error),
                None => records.extend(played.records),
            }
        }
        Ok(records)
    }
}

/// A client that sends every request once.
async fn client(kubeconfig: &Path) -> Result<kube::Client, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Client(error.to_string());
    let kubeconfig = Kubeconfig::read_from(kubeconfig).map_err(|error| failed(&error))?;
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = config.map_err(|error| failed(&error))?;
    config.default_retry = false;
    kube::Client::try_from(config).map_err(|error| failed(&error))
}
