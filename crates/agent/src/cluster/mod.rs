//! The agent of a Kubernetes cluster. The only tree that knows `kube`.

pub(crate) mod objects;
