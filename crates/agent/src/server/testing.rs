//! Servers for tests.

use std::collections::BTreeMap;

use model::{Limits, ServerId, ServerSpec, StopHow};

/// A spec that a test changes to its needs.
pub(crate) fn spec() -> ServerSpec {
    ServerSpec {
        id: ServerId::new(),
        name: "test".to_owned(),
        image: "none".to_owned(),
        startup: "/bin/true".to_owned(),
        environment: BTreeMap::new(),
        limits: Limits::default(),
        allocations: Vec::new(),
        stop: StopHow::Command("stop".to_owned()),
        stop_patience_s: 5,
        done: vec!["ready".to_owned()],
        configs: Vec::new(),
        install: None,
    }
}
