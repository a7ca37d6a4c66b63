//! `rerail plan`.

use clap::Args;
use rerail_core::plan::plan;

use crate::{
    CommandError, logs,
    outlook::{self, OutlookArguments, Output, of_plan, survey::Survey, table},
};

#[derive(Debug, Args)]
pub struct PlanArguments {
    #[command(flatten)]
    outlook: OutlookArguments,
}

pub async fn run(arguments: PlanArguments) -> Result<(), CommandError> {
    logs::start_quiet();
    let survey = Survey::take(&arguments.outlook).await?;
    let view = of_plan::view(&survey, &plan(&survey.world));
    match arguments.outlook.output {
        Output::Json => outlook::print_json(&view),
        Output::Table => outlook::print(&table::plan(&view, &survey.dial)),
    }
}
