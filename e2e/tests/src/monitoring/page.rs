//! A page of metrics as node exporter and kube-state-metrics would give them together, for machines that
//! a test describes.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Error;

/// What there is to measure of a machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// Calico's network interfaces.
    pub interfaces: u32,
    /// Its roles in the cluster.
    pub roles: Vec<String>,
    /// When it booted, in seconds since 1970.
    pub booted: f64,
    /// More samples, by name: `name{node="…"} value`.
    pub more: BTreeMap<String, f64>,
}

impl Default for Machine {
    fn default() -> Self {
        // Just booted, as far as a rule can tell.
        let booted = f64::from(u32::MAX);
        Machine { interfaces: 3, roles: vec!["worker".into()], booted, more: BTreeMap::new() }
    }
}

/// The page.
#[derive(Debug)]
pub struct Page {
    /// Where it is served.
    pub address: String,
    machines: Mutex<BTreeMap<String, Machine>>,
}

impl Page {
    /// Serves a page without machines until the runtime ends.
    pub(super) async fn serve() -> Result<Arc<Self>, Error> {
        let failed = |error| Error::File("a page of metrics".into(), error);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?.to_string();
        let page = Arc::new(Page { address, machines: Mutex::default() });
        let served = page.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let text = served.text();
                tokio::spawn(async move {
                    // Prometheus sends its whole request at once; what it says does not matter.
                    let _ = stream.read(&mut [0; 4096]).await;
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close";
                    let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{text}", text.len());
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Ok(page)
    }

    /// From now on this is measured of a machine.
    pub fn set(&self, node: &str, machine: Machine) {
        self.lock().insert(node.to_owned(), machine);
    }

    /// Changes what is measured of a machine.
    pub fn change(&self, node: &str, change: impl FnOnce(&mut Machine)) {
        change(self.lock().entry(node.to_owned()).or_default());
    }

    /// Nothing is measured of a machine any more: it is down.
    pub fn remove(&self, node: &str) {
        self.lock().remove(node);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Machine>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        for (node, machine) in &*self.lock() {
            for number in 0..machine.interfaces {
                let _ = writeln!(
                    text,
                    "node_network_info{{node=\"{node}\",device=\"cali{number}\"}} 1"
                );
            }
            for role in &machine.roles {
                let _ = writeln!(text, "kube_node_role{{node=\"{node}\",role=\"{role}\"}} 1");
            }
            let _ = writeln!(text, "node_boot_time_seconds{{node=\"{node}\"}} {}", machine.booted);
            for (name, value) in &machine.more {
                let _ = writeln!(text, "{name}{{node=\"{node}\"}} {value}");
            }
        }
        text
    }
}
