//! Builds the panel anew when the web interface that it has inside changes.
//!
//! A directory that is not there counts as changed each time, so it is only named while it is there; `scripts/build-web.sh`
//! touches this file when it makes it.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let dist = Path::new("../../web/dist");
    if dist.join("index.html").exists() {
        println!("cargo:rerun-if-changed={}", dist.display());
    }
}
