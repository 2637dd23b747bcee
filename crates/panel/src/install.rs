//! Installations that go on behind the answer of a server's creation.
