//! `rerail explain node NAME`.

use clap::{Args, Subcommand};

use crate::{
    CommandError, logs,
    outlook::{self, OutlookArguments, Output, node_table, of_node, survey::Survey},
};

/// What can be explained.
#[derive(Debug, Subcommand)]
pub enum ExplainCommand {
    /// Show all that bears on one node: what calls for it, every gate, its budgets, its runs, and what
    /// would have to change. Changes nothing.
    Node(NodeArguments),
}

#[derive(Debug, Args)]
pub struct NodeArguments {
    /// Name of the node.
    name: String,
    #[command(flatten)]
    outlook: OutlookArguments,
}

pub async fn run(command: ExplainCommand) -> Result<(), CommandError> {
    let ExplainCommand::Node(arguments) = command;
    logs::start_quiet();
    let survey = Survey::take(&arguments.outlook).await?;
    let view = of_node::view(&survey, &arguments.name)?;
    match arguments.outlook.output {
        Output::Json => outlook::print_json(&view),
        Output::Table => outlook::print(&node_table::node(&view, &survey.dial)),
    }
}
