//! Eggs.
