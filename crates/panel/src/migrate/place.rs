//! What a source or target is called in messages: people must know where to look.

use std::fmt;

use model::RuntimeKind;

use crate::db::nodes::Node;

/// A node or a cluster, by its name.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    name: String,
    runtime: Option<RuntimeKind>,
}

impl Place {
    pub(super) fn of(row: &Node) -> Self {
        Self { name: row.name.clone(), runtime: row.agent.as_ref().map(|agent| agent.runtime) }
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.runtime == Some(RuntimeKind::Kubernetes)
    }

    /// Whoever speaks for it.
    pub(super) fn agent(&self) -> String {
        if self.is_cluster() { format!("the orchestrator of {self}") } else { format!("the agent of {self}") }
    }

    /// That nobody speaks for it, and what to do.
    pub(super) fn offline(&self) -> String {
        if self.is_cluster() {
            return format!(
                "The orchestrator of {self} is not connected. Look at it with kubectl -n badger-system get pods, and \
                 try again."
            );
        }
        format!("The agent of {self} is not connected. Start its daemon and try again.")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} {}", if self.is_cluster() { "cluster" } else { "node" }, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_called_what_its_admin_calls_it() {
        let node = Place { name: "a".to_owned(), runtime: Some(RuntimeKind::Docker) };
        let cluster = Place { name: "b".to_owned(), runtime: Some(RuntimeKind::Kubernetes) };
        assert_eq!((node.to_string(), cluster.to_string()), ("node a".to_owned(), "cluster b".to_owned()));
        assert!(node.offline().contains("daemon") && cluster.offline().contains("kubectl"));
    }
}
