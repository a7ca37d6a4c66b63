//! Scenarios on a real API server, one file each. Those that kill, pause or configure the operator
//! have a control plane of their own; the others share one, kept apart by pools of nodes, and take
//! turns, since one run at a time is under way in a cluster.

mod healthy;
mod shared;
