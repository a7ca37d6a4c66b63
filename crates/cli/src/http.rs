//! `/metrics`, `/healthz` and `/readyz`.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use rerail_operator::deps::Deps;

use crate::CommandError;

/// Serves until the process ends.
pub async fn serve(address: SocketAddr, deps: Arc<Deps>) -> Result<(), CommandError> {
    let failed = |source| CommandError::Listen { address, source, flag: "--listen" };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
    tracing::info!(address = %listener.local_addr().map_err(failed)?, "serving /metrics, /healthz, /readyz");
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(deps);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the HTTP server ended");
        }
    });
    Ok(())
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

async fn metrics(State(deps): State<Arc<Deps>>) -> impl IntoResponse {
    match deps.metrics.page() {
        Ok(page) => (StatusCode::OK, [("content-type", OPENMETRICS)], page),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, [("content-type", "text/plain")], error.to_string())
        }
    }
}

async fn healthz(State(deps): State<Arc<Deps>>) -> impl IntoResponse {
    match deps.metrics.is_alive(deps.clock.now()) {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::INTERNAL_SERVER_ERROR, "nothing has been looked at for two minutes"),
    }
}

async fn readyz(State(deps): State<Arc<Deps>>) -> impl IntoResponse {
    match deps.metrics.ready() {
        Ok(()) => (StatusCode::OK, "ok".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
    }
}
