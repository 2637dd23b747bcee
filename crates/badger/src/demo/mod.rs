//! demo
use clap::Args;
use crate::exit::Exit;
/// Arguments.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    #[arg(long, value_parser = crate::units::parse_size)] size: Option<u64>,
    #[arg(long)] keep: bool,
    #[arg(long)] no_migrate: bool,
    #[arg(long)] json: bool,
}
pub(crate) fn run(_args: &DemoArgs) -> anyhow::Result<Exit> { anyhow::bail!("not yet") }
