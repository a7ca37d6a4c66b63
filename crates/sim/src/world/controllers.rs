//! The controllers of Kubernetes that a node operator meets, each as small as it can be and still do to
//! the API what the real one does.

mod budgets;
pub(super) mod lifecycle;
mod scheduler;
mod sweep;
mod workloads;
