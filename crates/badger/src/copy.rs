//! `badger copy`: the transfer engine alone.

use clap::Args;

/// Arguments of `badger copy`.
#[derive(Args, Debug)]
pub(crate) struct CopyArgs {}

/// Copies.
#[allow(clippy::unused_async, reason = "the engine is asynchronous")]
pub(crate) async fn run(_args: CopyArgs) -> anyhow::Result<()> {
    anyhow::bail!("this build has no `badger copy`")
}
