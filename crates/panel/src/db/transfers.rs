//! Placeholder of the transfer rows.
