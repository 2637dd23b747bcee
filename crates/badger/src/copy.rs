//! `badger copy`: the transfer engine alone, from a directory to another one, here or on another machine.

mod receive;
mod send;
mod show;
mod staging;
mod url;

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use transfer::{Error, Identity, Listener, OwnerMap, RateLimit};

use self::{receive::Receiving, show::Show, url::CopyUrl};
use crate::units;

const EXAMPLES: &str = "\
Examples:
  badger copy world /mnt/new/world            here; once more to send only what changed
  badger copy --listen :7000 world            where it shall be: prints a URL…
  badger copy world badger://10.0.0.5:7000/…  …for the machine that has it
  badger copy --follow world badger://…       of a tree in use, until you press Enter

DST becomes exactly what SRC is: what SRC does not have is removed from DST. If nothing
of DST would stay, --replace is needed; a receiver does not ask. DST changes in one step,
at the end, after everything was read back from the disk and compared. What an interrupted
copy left in .DST.badger-staging beside it is used by the next one.";

/// The keys are a contract.
const JSON_HELP: &str = "End with one line of JSON: root, files, bytes_total, bytes_wire, blocks_sent, rounds, \
    duration_ms, final_round_ms";

/// Arguments of `badger copy`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct CopyArgs {
    /// Directory to copy; with --listen the directory to fill
    #[arg(value_name = "SRC")]
    dir: PathBuf,
    /// Directory on this machine, or the URL that the other side printed
    #[arg(value_name = "DST", required_unless_present = "listen", conflicts_with = "listen")]
    to: Option<OsString>,
    /// Receive: listen on [HOST:]PORT and print the URL for the other side as the first line
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Receive one copy after another instead of one
    #[arg(long, requires = "listen", conflicts_with = "to")]
    serve: bool,
    /// Keep copying until a line on standard input or SIGUSR1 says finish
    #[arg(long, conflicts_with = "listen")]
    follow: bool,
    /// Bytes per second at most, like 50M
    #[arg(long, value_name = "SIZE", value_parser = units::parse_rate, conflicts_with = "listen")]
    bandwidth: Option<u64>,
    /// Let SRC take the place of a DST that has no name in common with it
    #[arg(long, conflicts_with = "listen")]
    replace: bool,
    /// Who owns the copy, instead of the owners on the source
    #[arg(long, value_name = "UID:GID", value_parser = parse_owner)]
    owner: Option<OwnerMap>,
    #[arg(long, help = JSON_HELP)]
    json: bool,
}

/// Copies.
pub(crate) async fn run(args: CopyArgs) -> Result<()> {
    let show = Show::new(args.json);
    if let Some(address) = &args.listen {
        let listener = listen(address).await?;
        return receive::serve(listener, &args.dir, args.owner(), args.serve, &show).await;
    }
    let to = args.to.clone().expect("clap requires it");
    let order = send::Order {
        from: tree_to_copy(&args.dir)?,
        owner: args.owner(),
        bandwidth: args.bandwidth.map(|rate| Arc::new(RateLimit::new(Some(rate)))),
        follow: args.follow,
    };
    if to.as_bytes().starts_with(url::SCHEME.as_bytes()) {
        let url = to.to_str().context("the URL is not text")?;
        let receiver: CopyUrl = url.parse()?;
        return send::send(order, &receiver, &show).await;
    }
    copy_here(order, Path::new(&to), args.replace, &show).await
}

/// Both ends in this process, over loopback.
async fn copy_here(order: send::Order, to: &Path, replace: bool, show: &Show) -> Result<()> {
    let destination = staging::destination(to)?;
    if overlap(&order.from, &destination) {
        bail!("{} and {} are inside one another", order.from.display(), destination.display());
    }
    if !replace {
        staging::refuse_to_replace(&destination, &order.from)?;
    }
    let (listener, me) = listen("127.0.0.1:0").await?;
    let receiving = Receiving::open(&listener, &me, &destination, OwnerMap::Keep);
    let url = receiving.url(listener.local_addr());
    let delivered = async { send::send(order, &url, show).await };
    let received = receiving.one();
    tokio::pin!(delivered, received);
    tokio::select! {
        // A failure of the receiving half reaches the sending half by itself, with what it was.
        sent = &mut delivered => {
            sent?;
            received.await.map(|_| ())
        }
        got = &mut received => match got {
            Ok(_) => delivered.await,
            Err(e) => Err(delivered.await.err().unwrap_or(e)),
        },
    }
}

async fn listen(address: &str) -> Result<(Listener, Arc<Identity>)> {
    let address = url::listen_address(address)?;
    let me = Arc::new(Identity::generate("badger copy").context("cannot make a certificate")?);
    match Listener::bind(address, Arc::clone(&me)).await {
        Ok(listener) => Ok((listener, me)),
        // The address is no path, and nobody looks for it in the file system.
        Err(Error::Io { source, .. }) => {
            bail!("cannot listen on {address}: {source}; end what listens there, or choose another with --listen")
        }
        Err(e) => Err(anyhow::Error::from(e).context(format!("cannot listen on {address}"))),
    }
}

/// The directory, if it is one.
fn tree_to_copy(dir: &Path) -> Result<PathBuf> {
    let real = dir.canonicalize().with_context(|| format!("cannot copy {}", dir.display()))?;
    if !real.is_dir() {
        bail!("{} is not a directory; badger copy takes a directory and what is in it", dir.display());
    }
    Ok(real)
}

fn overlap(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

fn parse_owner(text: &str) -> Result<OwnerMap, String> {
    let parsed = text.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    let (uid, gid) = parsed.ok_or_else(|| format!("`{text}` is not of the form 1000:1000"))?;
    Ok(OwnerMap::To { uid, gid })
}

impl CopyArgs {
    fn owner(&self) -> OwnerMap {
        self.owner.unwrap_or(OwnerMap::Keep)
    }
}

/// The last part of a path, for names and messages.
fn base_name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or(OsStr::new("copy"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_two_numbers() {
        assert_eq!(parse_owner("1000:50"), Ok(OwnerMap::To { uid: 1000, gid: 50 }));
        for bad in ["", "1000", "a:b", "1:2:3", "-1:2"] {
            assert!(parse_owner(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tree_cannot_be_copied_into_itself() {
        assert!(overlap(Path::new("/a/b"), Path::new("/a/b/c")));
        assert!(overlap(Path::new("/a/b"), Path::new("/a/b")));
        assert!(!overlap(Path::new("/a/b"), Path::new("/a/bc")));
    }
}
