//! The agents` side door.
