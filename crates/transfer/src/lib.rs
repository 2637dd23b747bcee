//! Moves a directory tree from one machine to another while it is in use: rounds over a live tree, a last pass over
//! the still one, and a proof that the target's disk gives back what the source has.

mod audit;
mod converge;
mod dial;
mod error;
mod fill;
mod fold;
mod hole;
mod identity;
mod leaf;
mod link;
mod lost_and_found;
mod meeting;
mod meta;
mod options;
mod probe;
mod progress;
mod publish;
mod rate;
mod receive;
mod report;
mod source;
mod stat;
mod store;
mod stream;
mod sys;
mod tls;
mod walk;
mod wire;
mod xattr;

pub use audit::{Measure, TreeReport, measure, tree_root};
pub use converge::{Decision, decide};
pub use error::{Error, Result};
pub use fill::publish_into;
pub use identity::{Fingerprint, Identity, Ticket};
pub use meeting::{Dialled, Rendezvous};
pub use options::{OwnerMap, ReceiverConfig, ReceiverLimits, SourceOptions};
pub use probe::{Probe, probe};
pub use progress::{Progress, ProgressSnapshot};
pub use publish::publish;
pub use rate::RateLimit;
pub use receive::{Door, Listener, Received, staging_tree};
pub use report::{Receipt, RoundReport, Summary, TreeRoot};
pub use source::Source;
pub use stream::{BoxedStream, Stream};
