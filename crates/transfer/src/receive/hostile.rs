//! Tests: a source that means harm, at the level of the wire.

#![allow(clippy::unwrap_used)]

use std::{fs, time::Duration};

use super::session;
use crate::{
    error::Error,
    link::{Frame, Link, Meter, Sender},
    options::{ReceiverConfig, ReceiverLimits},
    report::Summary,
    sys::Stamp,
    wire::{Begin, End, Fill, Kind, Meta, Op, Piece, TOP, ToReceiver},
};

fn meta() -> Meta {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Meta { mode: 0o644, uid, gid, mtime: Stamp { sec: 1, nsec: 2 }, xattrs: Vec::new() }
}

fn dir(node: u32, parent: u32, name: &[u8]) -> Op {
    Op::Dir { node, parent, name: name.to_vec(), meta: Meta { mode: 0o755, ..meta() } }
}

fn object(object: u32, kind: Kind) -> Op {
    Op::Object { object, kind, meta: meta() }
}

fn name(node: u32, parent: u32, name: &[u8], object: u32) -> Op {
    Op::Name { node, parent, name: name.to_vec(), object }
}

fn file(id: u32, size: u64) -> [Op; 2] {
    [object(id, Kind::File { size }), name(id + 1000, TOP, format!("f{id}").as_bytes(), id)]
}

/// Object, first block, bytes.
type Run = (u32, u64, u32);

fn data(pieces: &[Run], body: &[u8]) -> Frame {
    let pieces = pieces.iter().map(|&(object, block, len)| Piece { object, block, len, fill: Fill::Bytes }).collect();
    Frame::new(&ToReceiver::Data { pieces, packed: false }, body.to_vec())
}

fn message(message: &ToReceiver) -> Frame {
    Frame::new(message, Vec::new())
}

fn begin() -> Frame {
    message(&ToReceiver::Begin(Begin { round: 1, bytes: 0, entries: 0, allocated: 0 }))
}

type Receiving = tokio::task::JoinHandle<Result<(), Error>>;

/// A receiver in `dir`, and what talks to it.
fn start(dir: &tempfile::TempDir) -> (Sender, Receiving) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let idle = Duration::from_secs(10);
    let mut peer = Link::start(near, idle, Meter::default());
    let mut config = ReceiverConfig::new(dir.path().join("staging"));
    config.limits = ReceiverLimits { max_bytes: 1 << 30, max_entries: 100 };
    let mut link = Link::start(far, idle, Meter::default());
    let receiving = tokio::task::spawn_blocking(move || session::receive(config, &mut link).map(|_| ()));
    let sender = peer.sender();
    // Nobody reads the answers, but somebody must listen.
    tokio::spawn(async move { while peer.receive().await.is_ok() {} });
    (sender, receiving)
}

async fn verdict(receiving: Receiving) -> Result<(), Error> {
    tokio::time::timeout(Duration::from_secs(20), receiving).await.expect("a verdict").unwrap()
}

/// What a receiver in `dir` says to these frames.
async fn receive(dir: &tempfile::TempDir, frames: Vec<Frame>) -> Result<(), Error> {
    let (sender, receiving) = start(dir);
    let send_all = move || frames.into_iter().map(|f| sender.send_frame_blocking(f)).all(|sent| sent.is_ok());
    // It may hang up before all is sent.
    tokio::task::spawn_blocking(send_all).await.unwrap();
    verdict(receiving).await
}

/// Sends these operations in a round of their own.
async fn outcome_of(ops: Vec<Op>) -> Result<(), Error> {
    let dir = tempfile::tempdir().unwrap();
    let outcome =
        receive(&dir, vec![begin(), message(&ToReceiver::Ops(ops)), message(&ToReceiver::Publish(Summary::default()))])
            .await;
    let outside: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(outside, ["staging"], "nothing lands outside");
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_lead_out_of_the_tree_are_refused() {
    for bad in [&b".."[..], b".", b"", b"/etc", b"../x", b"a/b", b"a\0b", &[b'x'; 256]] {
        let as_dir = outcome_of(vec![dir(1, TOP, bad)]).await;
        assert!(matches!(as_dir, Err(Error::Refused(_))), "{bad:?}: {as_dir:?}");
        let as_link = outcome_of(vec![object(1, Kind::Symlink { target: b"/".to_vec() }), name(2, TOP, bad, 1)]).await;
        assert!(matches!(as_link, Err(Error::Refused(_))), "{bad:?}: {as_link:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_put_through_a_symbolic_link() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap().as_bytes().to_vec();
    let link = || vec![object(1, Kind::Symlink { target: target.clone() }), name(2, TOP, b"link", 1)];
    // As a parent, by the id of the name, and by giving a directory the name of the link.
    let through = outcome_of([link(), vec![dir(3, 2, b"x")]].concat()).await;
    assert!(matches!(through, Err(Error::Protocol(_))), "{through:?}");
    let twice = outcome_of([link(), vec![dir(3, TOP, b"link")]].concat()).await;
    assert!(matches!(twice, Err(Error::Refused(_))), "{twice:?}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_somebody_slips_into_staging_is_not_followed() {
    let (dir_, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (sending, receiving) = start(&dir_);
    let (staged, target) = (dir_.path().join("staging/tree/d"), outside.path().to_owned());
    let sent = tokio::task::spawn_blocking(move || {
        for frame in [begin(), message(&ToReceiver::Ops(vec![dir(1, TOP, b"d")]))] {
            sending.send_frame_blocking(frame).unwrap();
        }
        // The directory is made; before anything is put into it, it is swapped for a link.
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while fs::remove_dir(&staged).is_err() {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        std::os::unix::fs::symlink(target, staged).unwrap();
        let ops = vec![object(2, Kind::File { size: 5 }), name(3, 1, b"f", 2), Op::Structured];
        // The receiver may hang up after the first.
        [message(&ToReceiver::Ops(ops)), data(&[(2, 0, 5)], b"hello")]
            .map(|frame| sending.send_frame_blocking(frame).is_ok())
    });
    sent.await.unwrap();
    assert!(matches!(verdict(receiving).await, Err(Error::Io { .. })));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_make_no_sense_are_refused() {
    let nonsense = [
        vec![dir(1, 99, b"x")],
        vec![dir(TOP, TOP, b"x")],
        vec![dir(1, TOP, b"x"), dir(1, TOP, b"y")],
        vec![dir(1, 1, b"x")],
        vec![name(1, TOP, b"x", 7)],
        vec![Op::Remove(TOP)],
        vec![Op::Remove(5)],
        vec![dir(1, TOP, b"x"), dir(2, 1, b"y"), Op::Remove(1)],
        [file(1, 3).to_vec(), vec![name(9, 1001, b"x", 1)]].concat(),
        [file(1, 3).to_vec(), vec![object(1, Kind::Fifo)]].concat(),
        vec![object(1, Kind::File { size: u64::MAX })],
        vec![object(1, Kind::Symlink { target: Vec::new() })],
        vec![object(1, Kind::Symlink { target: b"a\0b".to_vec() })],
        vec![Op::Object { object: 1, kind: Kind::Fifo, meta: Meta { mode: 0o170_644, ..meta() } }],
        vec![Op::Object {
            object: 1,
            kind: Kind::Fifo,
            meta: Meta { mtime: Stamp { sec: 0, nsec: 1 << 31 }, ..meta() },
        }],
        vec![Op::DirMeta { node: 4, meta: meta() }],
    ];
    for ops in nonsense {
        let shown = format!("{ops:?}");
        let outcome = outcome_of(ops).await;
        assert!(matches!(outcome, Err(Error::Protocol(_) | Error::Refused(_))), "{shown}: {outcome:?}");
    }
    let many = (1..200).map(|i| dir(i, TOP, format!("{i}").as_bytes())).collect();
    assert!(matches!(outcome_of(many).await, Err(Error::Refused(_))));
    let much = vec![object(1, Kind::File { size: 600 << 20 }), object(2, Kind::File { size: 600 << 20 })];
    assert!(matches!(outcome_of(much).await, Err(Error::Refused(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_does_not_fit_its_file_is_refused() {
    let bad: [(&[Run], usize); 9] = [
        (&[(1, 0, 6)], 6),
        (&[(1, 1, 5)], 5),
        (&[(1, u64::MAX / 4096, 5)], 5),
        (&[(1, u64::MAX, 5)], 5),
        (&[(1, 0, 0)], 0),
        (&[(7, 0, 5)], 5),
        (&[(1, 0, 5)], 4),
        (&[(1, 0, 5)], 6),
        (&[(2, 0, 100)], 100),
    ];
    for (pieces, len) in bad {
        let dir = tempfile::tempdir().unwrap();
        let ops = [file(1, 5).to_vec(), file(2, 5000).to_vec(), vec![Op::Structured]].concat();
        let frames = vec![begin(), message(&ToReceiver::Ops(ops)), data(pieces, &vec![b'x'; len])];
        let outcome = receive(&dir, frames).await;
        assert!(matches!(outcome, Err(Error::Protocol(_))), "{pieces:?}: {outcome:?}");
    }
    let huge = vec![(1, 0, u32::MAX); 4096];
    let dir = tempfile::tempdir().unwrap();
    let outcome = receive(&dir, vec![begin(), data(&huge, b"")]).await;
    assert!(matches!(outcome, Err(Error::Protocol(_))), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_body_does_not_grow_beyond_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    let ops = [file(1, 4096).to_vec(), vec![Op::Structured]].concat();
    let pieces = vec![Piece { object: 1, block: 0, len: 4096, fill: Fill::Bytes }];
    let frame = Frame::new(&ToReceiver::Data { pieces, packed: true }, bomb);
    let outcome = receive(&dir, vec![begin(), message(&ToReceiver::Ops(ops)), frame]).await;
    assert!(matches!(outcome, Err(Error::Protocol(_))), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_does_not_add_up_is_refused() {
    let right = End { round: 1, last: false, ops: 3, pieces: 1, bytes: 5 };
    let ends =
        [End { ops: 4, ..right }, End { pieces: 2, ..right }, End { bytes: 4, ..right }, End { round: 2, ..right }];
    for end in ends {
        let dir = tempfile::tempdir().unwrap();
        let ops = [file(1, 5).to_vec(), vec![Op::Structured]].concat();
        let frames =
            vec![begin(), message(&ToReceiver::Ops(ops)), data(&[(1, 0, 5)], b"hello"), message(&ToReceiver::End(end))];
        let outcome = receive(&dir, frames).await;
        assert!(matches!(outcome, Err(Error::Protocol(_))), "{end:?}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_at_the_wrong_time_is_refused() {
    let wrong = [
        message(&ToReceiver::Ops(vec![Op::Structured])),
        message(&ToReceiver::Root([0; 32])),
        message(&ToReceiver::Digests { digests: Vec::new(), last: true }),
        message(&ToReceiver::End(End::default())),
        message(&ToReceiver::Publish(Summary::default())),
        data(&[], b""),
    ];
    for frame in wrong {
        let shown = format!("{frame:?}");
        let outcome = receive(&tempfile::tempdir().unwrap(), vec![frame]).await;
        assert!(matches!(outcome, Err(Error::Protocol(_))), "{shown}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_without_the_content_is_not_equal() {
    let dir = tempfile::tempdir().unwrap();
    let ops = [file(1, 5).to_vec(), vec![Op::Structured]].concat();
    let end = End { round: 1, last: true, ops: 3, pieces: 0, bytes: 0 };
    let frames = vec![
        begin(),
        message(&ToReceiver::Ops(ops)),
        message(&ToReceiver::End(end)),
        message(&ToReceiver::Root([7; 32])),
        message(&ToReceiver::Publish(Summary::default())),
    ];
    assert!(matches!(receive(&dir, frames).await, Err(Error::Protocol(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_too_long_are_not_read() {
    use tokio::io::AsyncWriteExt;
    for lengths in [[u32::MAX, 0], [0, u32::MAX], [2 << 20, 1]] {
        let (mut near, far) = tokio::io::duplex(1 << 16);
        let mut link = Link::start(far, Duration::from_secs(10), Meter::default());
        let start: Vec<u8> = lengths.iter().flat_map(|l: &u32| l.to_le_bytes()).collect();
        near.write_all(&start).await.unwrap();
        assert!(matches!(link.receive().await, Err(Error::Protocol(_))));
    }
}
