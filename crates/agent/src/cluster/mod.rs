//! The agent of a Kubernetes cluster. The only tree that knows `kube`.

pub(crate) mod objects;
mod survey;

pub use survey::{Survey, survey};
