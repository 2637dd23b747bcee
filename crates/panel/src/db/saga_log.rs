//! Placeholder of the saga log.
