//! Who dials whom is one thing, who delivers is another.

use std::{fs, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use transfer::{Error, Identity, Listener, Rendezvous, Source, SourceOptions, Stream, Ticket, probe};

use crate::support::{Pair, bounded, eventually, noise, progress, root};

const PATIENCE: Duration = Duration::from_secs(10);

async fn over(pair: &Pair, stream: impl Stream) -> Result<Source, Error> {
    let (peer, options) = (pair.me.fingerprint(), SourceOptions::default());
    Source::over(stream, &pair.me, peer, &pair.ticket, &pair.src(), options, progress()).await
}

/// The listener of a source's agent, with its own certificate.
async fn sources_listener() -> Listener {
    let me = Arc::new(Identity::generate("source").unwrap());
    Listener::bind("127.0.0.1:0".parse().unwrap(), me).await.unwrap()
}

async fn dial(listener: &Listener, rendezvous: &Rendezvous) -> TcpStream {
    let mut stream = TcpStream::connect(listener.local_addr()).await.unwrap();
    rendezvous.show(&mut stream).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_goes_over_a_pipe_that_the_target_brought() {
    let mut pair = Pair::new().await;
    fs::write(pair.at_src("file"), noise(2 << 20, 1)).unwrap();
    let (near, far) = tokio::io::duplex(64 << 10);
    let admitted = tokio::spawn(pair.listener.admit(far));
    let mut source = over(&pair, near).await.unwrap();
    bounded(source.round()).await.unwrap();
    assert!(!admitted.is_finished(), "the connection is still there");
    pair.finish(&mut source).await;
    drop(source);
    bounded(admitted).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_dials_the_source_and_gets_the_tree() {
    let mut pair = Pair::new().await;
    fs::write(pair.at_src("file"), noise(1 << 20, 1)).unwrap();
    let listener = sources_listener().await;
    let rendezvous: Rendezvous = Rendezvous::random().to_string().parse().unwrap();
    let mut dialled = listener.expect_dialled(rendezvous.clone());
    let stale = dial(&listener, &rendezvous).await;
    drop(stale);
    let admitted = tokio::spawn(pair.listener.admit(dial(&listener, &rendezvous).await));
    // The first may have been taken to its place before or after the second: one of the two works.
    let mut source = match over(&pair, bounded(dialled.next()).await).await {
        Ok(source) => source,
        Err(Error::Unreachable(_)) => over(&pair, bounded(dialled.next()).await).await.unwrap(),
        Err(e) => panic!("{e:?}"),
    };
    pair.finish(&mut source).await;
    drop(source);
    bounded(admitted).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rendezvous_that_nobody_expects_is_hung_up_on() {
    let pair = Pair::new().await;
    let listener = sources_listener().await;
    let rendezvous = Rendezvous::random();
    let never = bounded(pair.listener.admit(dial(&listener, &Rendezvous::random()).await)).await;
    assert!(matches!(never, Err(Error::Unreachable(_))), "{never:?}");
    drop(listener.expect_dialled(rendezvous.clone()));
    let no_more = bounded(pair.listener.admit(dial(&listener, &rendezvous).await)).await;
    assert!(matches!(no_more, Err(Error::Unreachable(_))), "{no_more:?}");
    for nonsense in [&b"bp-meet\x02................................"[..], b"bad", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(listener.local_addr()).await.unwrap();
        stream.write_all(nonsense).await.unwrap();
        stream.shutdown().await.unwrap();
        // An end or a reset: it makes no difference which.
        bounded(stream.read_to_end(&mut Vec::new())).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rendezvous_that_goes_on_talking_is_hung_up_on() {
    let listener = sources_listener().await;
    let rendezvous = Rendezvous::random();
    let mut dialled = listener.expect_dialled(rendezvous.clone());
    let mut words = Vec::new();
    rendezvous.show(&mut words).await.unwrap();
    words.extend_from_slice(b"and another thing");
    let mut stream = TcpStream::connect(listener.local_addr()).await.unwrap();
    stream.write_all(&words).await.unwrap();
    let mut rest = Vec::new();
    bounded(stream.read_to_end(&mut rest)).await.ok();
    assert!(rest.is_empty());
    assert!(tokio::time::timeout(Duration::from_millis(1), dialled.next()).await.is_err(), "it was not passed on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_expectation_outlives_an_older_one() {
    let listener = sources_listener().await;
    let rendezvous = Rendezvous::random();
    let older = listener.expect_dialled(rendezvous.clone());
    let mut newer = listener.expect_dialled(rendezvous.clone());
    drop(older);
    let _stream = dial(&listener, &rendezvous).await;
    bounded(newer.next()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_measures_and_disturbs_nobody() {
    let mut pair = Pair::new().await;
    fs::write(pair.at_src("file"), noise(1 << 20, 1)).unwrap();
    let mut source = pair.connect().await;
    bounded(source.round()).await.unwrap();
    for _ in 0..3 {
        let stream = TcpStream::connect(pair.listener.local_addr()).await.unwrap();
        let found = probe(stream, &pair.me, pair.me.fingerprint(), &pair.ticket, PATIENCE).await.unwrap();
        assert!(found.rtt < Duration::from_secs(1) && found.bytes_per_s > 1 << 20, "{found:?}");
    }
    pair.finish(&mut source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_touches_no_staging() {
    let pair = Pair::new().await;
    let (near, far) = tokio::io::duplex(64 << 10);
    let admitted = tokio::spawn(pair.listener.admit(far));
    probe(near, &pair.me, pair.me.fingerprint(), &pair.ticket, PATIENCE).await.unwrap();
    bounded(admitted).await.unwrap().unwrap();
    assert_eq!(fs::read_dir(pair.dir.path().join("staging")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_without_the_right_ticket_learns_nothing() {
    let pair = Pair::new().await;
    let stranger = Identity::generate("stranger").unwrap();
    let peer = pair.me.fingerprint();
    for (me, ticket) in [(&*pair.me, Ticket::random()), (&stranger, pair.ticket.clone())] {
        let stream = TcpStream::connect(pair.listener.local_addr()).await.unwrap();
        let refused = probe(stream, me, peer, &ticket, PATIENCE).await;
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_of_a_way_that_leads_nowhere_ends() {
    let pair = Pair::new().await;
    let (near, _far) = tokio::io::duplex(64 << 10);
    let late = probe(near, &pair.me, pair.me.fingerprint(), &pair.ticket, Duration::from_millis(50)).await;
    assert!(matches!(late, Err(Error::Unreachable(_))), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_is_cut_in_the_middle_is_gone_on_with_over_another() {
    let mut pair = Pair::new().await;
    fs::write(pair.at_src("file"), noise(8 << 20, 1)).unwrap();
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, behind) = (relay.local_addr().unwrap(), pair.listener.local_addr());
    let relaying = tokio::spawn(async move {
        let (mut near, _) = relay.accept().await.unwrap();
        let mut far = TcpStream::connect(behind).await.unwrap();
        copy_bidirectional(&mut near, &mut far).await
    });
    let limit = Arc::new(transfer::RateLimit::new(Some(4 << 20)));
    let options = SourceOptions { bandwidth: Some(limit), ..SourceOptions::default() };
    let (peer, watched) = (pair.me.fingerprint(), progress());
    let stream = TcpStream::connect(address).await.unwrap();
    let source = Source::over(stream, &pair.me, peer, &pair.ticket, &pair.src(), options, watched.clone()).await;
    let mut source = source.unwrap();
    let copying = tokio::spawn(async move { source.finish().await.map(|_| ()) });
    eventually("half of it was sent", || watched.snapshot().bytes_sent > 4 << 20).await;
    relaying.abort();
    assert!(matches!(bounded(copying).await.unwrap(), Err(Error::Unreachable(_))), "the cut was noticed");
    let mut source = pair.connect().await;
    let receipt = pair.finish(&mut source).await;
    assert!(receipt.bytes_frozen < 6 << 20, "what had arrived is not sent again: {receipt:?}");
    assert_eq!(root(&pair.copy()), receipt.root_target);
}
