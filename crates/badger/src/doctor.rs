//! `badger doctor`
use clap::Args;
use crate::exit::Exit;
/// Arguments.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Data directory
    #[arg(long)]
    data: Option<std::path::PathBuf>,
}
pub(crate) fn run(_args: &DoctorArgs) -> Exit { Exit::Done }
