//! Without root's powers, as in a pod: what is ours arrives with every mode, and what cannot be is named. Where the
//! tests run as root, each runs again in a process of its own that has none.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::MetadataExt, fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
};

use tokio_util::sync::CancellationToken;
use transfer::{Error, OwnerMap, Rendezvous, publish, publish_into, tree_root};

use crate::support::{Pair, bounded, is_root, noise, root};

const NOT_ROOT: u32 = 1000;

/// True if the test has been run by somebody else.
fn ran_without_root(test: &str) -> bool {
    if !is_root() {
        return false;
    }
    // Where root may not be entered by others, neither may what is built there.
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("it");
    // By another process: a test that forks while we write would hold the file open, and what is written to cannot run.
    assert!(Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&program).status().unwrap().success());
    let mut command = Command::new(&program);
    command.args(["--exact", &format!("unprivileged::{test}"), "--nocapture"]);
    command.current_dir("/").env("TMPDIR", "/tmp").uid(NOT_ROOT).gid(NOT_ROOT);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "as uid {NOT_ROOT}:\n{said}");
    true
}

fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// What our owner can read of it, and closed to their writing.
fn closed_tree(top: &Path) {
    for dir in ["plain", "locked/inner", "world"] {
        fs::create_dir_all(top.join(dir)).unwrap();
    }
    for (i, mode) in [0o400, 0o440, 0o444, 0o500, 0o600, 0o755].into_iter().enumerate() {
        let path = top.join(format!("plain/{mode:o}"));
        fs::write(&path, noise(20_000, i as u64)).unwrap();
        chmod(path, mode);
    }
    fs::write(top.join("locked/inner/file"), noise(300_000, 9)).unwrap();
    rustix::fs::setxattr(top.join("locked/inner/file"), "user.x", b"y", rustix::fs::XattrFlags::empty()).unwrap();
    chmod(top.join("locked/inner/file"), 0o400);
    fs::hard_link(top.join("locked/inner/file"), top.join("zz-linked")).unwrap();
    chmod(top.join("locked/inner"), 0o555);
    chmod(top.join("locked"), 0o500);
    chmod(top, 0o555);
}

/// So that it can be removed.
fn open(top: &Path) {
    chmod(top, 0o755);
    for dir in ["locked", "locked/inner", "dark", "shut"] {
        if top.join(dir).exists() {
            chmod(top.join(dir), 0o755);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_files_and_directories_arrive_and_can_be_published() {
    if ran_without_root("closed_files_and_directories_arrive_and_can_be_published") {
        return;
    }
    for mounted in [false, true] {
        let mut pair = Pair::new().await;
        closed_tree(&pair.src());
        let mut source = pair.connect().await;
        bounded(source.round()).await.unwrap();
        let receipt = pair.finish(&mut source).await;
        let data = pair.dir.path().join("data");
        if mounted {
            fs::create_dir(&data).unwrap();
            publish_into(&pair.copy(), &data).unwrap();
        } else {
            publish(&pair.copy(), &data).unwrap();
        }
        assert_eq!(root(&data), receipt.root_source);
        assert_eq!(fs::metadata(&data).unwrap().mode() & 0o7777, 0o555);
        open(&data);
        open(&pair.src());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_was_complete_and_closed_can_change_again() {
    if ran_without_root("a_tree_that_was_complete_and_closed_can_change_again") {
        return;
    }
    let mut pair = Pair::new().await;
    closed_tree(&pair.src());
    let mut source = pair.connect().await;
    pair.finish(&mut source).await;
    drop(source);
    open(&pair.src());
    fs::write(pair.at_src("locked/inner/more"), "more").unwrap();
    fs::remove_file(pair.at_src("plain/444")).unwrap();
    chmod(pair.at_src("locked/inner"), 0o555);
    // Another session builds on what the first has closed.
    let mut source = pair.connect().await;
    let receipt = pair.finish(&mut source).await;
    assert!(receipt.blocks_sent < 150, "{receipt:?}");
    open(&pair.src());
    open(&pair.copy());
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_that_keep_even_their_owner_out_arrive() {
    // Only root can read such a source; the receiver is what this is about.
    if !is_root() {
        return receive_as_told().await;
    }
    let (dir, me) = (tempfile::tempdir().unwrap(), std::sync::Arc::new(transfer::Identity::generate("s").unwrap()));
    chmod(dir.path(), 0o755);
    let src = dir.path().join("src");
    for sub in ["dark", "shut"] {
        fs::create_dir_all(src.join(sub)).unwrap();
        fs::write(src.join(sub).join("file"), noise(9000, 3)).unwrap();
    }
    fs::write(src.join("unreadable"), noise(50_000, 1)).unwrap();
    rustix::fs::setxattr(src.join("unreadable"), "user.x", b"y", rustix::fs::XattrFlags::empty()).unwrap();
    fs::hard_link(src.join("unreadable"), src.join("shut/linked")).unwrap();
    for (path, mode) in [("unreadable", 0), ("dark/file", 0o200), ("dark", 0), ("shut", 0o555)] {
        chmod(src.join(path), mode);
    }
    let listener = transfer::Listener::bind("127.0.0.1:0".parse().unwrap(), me.clone()).await.unwrap();
    let (rendezvous, ticket) = (Rendezvous::random(), transfer::Ticket::random());
    let mut dialled = listener.expect_dialled(rendezvous.clone());
    let theirs = transfer::Identity::generate("receiver").unwrap();
    let program = dir.path().join("it");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut command = Command::new(&program);
    command.args(["--exact", "unprivileged::modes_that_keep_even_their_owner_out_arrive", "--nocapture"]);
    let told = [listener.local_addr().to_string(), rendezvous.to_string(), ticket.to_string(), theirs.to_pem()];
    command.env("RECEIVE", told.join(" ").replace('\n', "|")).env("TMPDIR", "/tmp").current_dir("/");
    let receiving = tokio::task::spawn_blocking(move || command.uid(NOT_ROOT).gid(NOT_ROOT).output());
    let to_them = transfer::SourceOptions {
        owner: OwnerMap::To { uid: NOT_ROOT, gid: NOT_ROOT },
        ..transfer::SourceOptions::default()
    };
    let stream = bounded(dialled.next()).await;
    let source =
        transfer::Source::over(stream, &me, theirs.fingerprint(), &ticket, &src, to_them, std::sync::Arc::default());
    let receipt = bounded(source.await.unwrap().finish()).await.unwrap();
    let output = receiving.await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let audited = tree_root(&src, OwnerMap::To { uid: NOT_ROOT, gid: NOT_ROOT }, &CancellationToken::new());
    assert_eq!(receipt.root_target, audited.unwrap().root);
    assert!(
        output.status.success() && said.contains(&format!("modes 0 200 0 555 root {}", receipt.root_source)),
        "{said}"
    );
}

/// The other half of that test, without root.
async fn receive_as_told() {
    let Ok(told) = std::env::var("RECEIVE") else {
        return eprintln!("skipped: only root can read a source that keeps its owner out");
    };
    let [address, rendezvous, ticket, pem] = told.splitn(4, ' ').collect::<Vec<_>>().try_into().unwrap();
    let me = std::sync::Arc::new(transfer::Identity::from_pem(&pem.replace('|', "\n")).unwrap());
    let listener = transfer::Listener::bind("127.0.0.1:0".parse().unwrap(), me).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = transfer::ReceiverConfig::new(dir.path().join("staging"));
    let mut door = listener.expect(ticket.parse().unwrap(), None, config);
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    rendezvous.parse::<Rendezvous>().unwrap().show(&mut stream).await.unwrap();
    let admitted = tokio::spawn(listener.admit(stream));
    let received = bounded(door.wait()).await.unwrap();
    let (tree, root) = (received.tree.clone(), received.root);
    drop(received);
    bounded(admitted).await.unwrap().unwrap();
    let mode = |path: &str| fs::symlink_metadata(tree.join(path)).unwrap().mode() & 0o7777;
    let (unreadable, dark, shut) = (mode("unreadable"), mode("dark"), mode("shut"));
    open(&tree);
    eprintln!("modes {unreadable:o} {:o} {dark:o} {shut:o} root {root}", mode("dark/file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_cannot_read_a_file_names_it() {
    if ran_without_root("a_source_that_cannot_read_a_file_names_it") {
        return;
    }
    for (name, is_dir) in [("secret", false), ("cellar", true)] {
        let pair = Pair::new().await;
        let path = pair.at_src(name);
        if is_dir {
            fs::create_dir(&path).unwrap();
        } else {
            fs::write(&path, "x").unwrap();
        }
        chmod(&path, 0);
        let mut source = pair.connect().await;
        let outcome = bounded(source.round()).await;
        assert!(matches!(&outcome, Err(Error::CannotCarry { path, .. }) if path == Path::new(name)), "{outcome:?}");
        chmod(&path, 0o700);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_cannot_be_given_is_an_error_that_names_the_path_and_what_to_do() {
    if ran_without_root("an_owner_that_cannot_be_given_is_an_error_that_names_the_path_and_what_to_do") {
        return;
    }
    let them = OwnerMap::To { uid: 4321, gid: 4321 };
    let pair = Pair::with(|config| transfer::ReceiverConfig { owner: them, ..config }).await;
    fs::write(pair.at_src("file"), "x").unwrap();
    let mut source = pair.connect().await;
    let outcome = bounded(source.finish()).await;
    let Err(Error::CannotCarry { path, why }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(path, Path::new("file"));
    assert!(why.contains("4321") && why.contains("map the owner"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_mapped_to_oneself_without_root() {
    if ran_without_root("files_are_mapped_to_oneself_without_root") {
        return;
    }
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut pair = Pair::with(|config| transfer::ReceiverConfig { owner: OwnerMap::To { uid, gid }, ..config }).await;
    fs::write(pair.at_src("file"), noise(10_000, 1)).unwrap();
    std::os::unix::fs::symlink("file", pair.at_src("link")).unwrap();
    let mut source = pair.connect().await;
    pair.finish(&mut source).await;
}
