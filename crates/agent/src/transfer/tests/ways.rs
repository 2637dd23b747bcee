//! The ways of a copy: the target that dials, and the relay where both do. Cut, restarted, and taken back.

use ::transfer::Rendezvous;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::pipes::Between;
use super::*;

async fn try_door(stage: &Stage, step: &str) -> Result<Reply, AgentError> {
    stage.at_source(step, TransferAction::TryDoor { door: stage.door() }).await
}

/// Sets the reverse way up, through something that can be cut.
async fn reverse(stage: &mut Stage) -> (Between, Rendezvous) {
    let rendezvous = Rendezvous::random();
    let expect = TransferAction::ExpectTarget { rendezvous: rendezvous.to_string() };
    let Reply::Listening { address: Some(address) } = stage.at_source("prepare_target.reverse", expect).await.unwrap()
    else {
        panic!("the source does not listen");
    };
    let proxy = Between::proxy(address).await;
    let route = Route::Reverse { address: proxy.address.to_string(), rendezvous: rendezvous.to_string() };
    let dial = TransferAction::DialSource { route: route.clone() };
    assert_eq!(stage.at_target("prepare_target.reverse", dial).await.unwrap(), Reply::Done);
    stage.way = Some(route);
    (proxy, rendezvous)
}

/// The task that dials at the target.
async fn dial(stage: &Stage) -> AbortHandle {
    let transfer = Arc::clone(&stage.target.node.transfers.all.lock().unwrap()[&stage.transfer]);
    let door = transfer.door.lock().await;
    door.as_ref().unwrap().dial.as_ref().unwrap().task.abort_handle()
}

async fn relay(stage: &mut Stage) -> Between {
    let relay = Between::relay().await;
    let dial = TransferAction::DialSource { route: relay.url("target") };
    stage.at_target("prepare_target.relay", dial).await.unwrap();
    stage.way = Some(relay.url("source"));
    relay
}

async fn assert_reached(stage: &Stage) {
    let reached = try_door(stage, "prepare_target.try").await.unwrap();
    assert!(matches!(reached, Reply::Reached { rtt_us: 1.., bandwidth: 1_000_000.. }), "{reached:?}");
}

/// From the precopy on, to the end.
async fn finish(stage: &Stage) {
    stage.at_source("stop_source", stop()).await.unwrap();
    stage.at_source("final_copy", stage.final_copy()).await.unwrap();
    stage.at_source("fence_source", TransferAction::FenceSource).await.unwrap();
    stage.at_target("start_target", stage.start_target()).await.unwrap();
    stage.at_target("check_health", health()).await.unwrap();
}

/// A copy that is cut in its middle, and one more that goes on over the same way.
async fn cut_in_the_middle(stage: &Stage, between: &Between) {
    let slow = stage.source.node.obey(stage.request("precopy", stage.precopy(Some(2 << 20))));
    between.passed(1 << 20).await;
    between.cut();
    let broken = tokio::time::timeout(PATIENCE, slow).await.unwrap();
    assert!(matches!(broken, Outcome::Err(AgentError { code: ErrorCode::Unreachable, .. })), "{broken:?}");
    stage.at_source("precopy#2", stage.precopy(None)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_is_tried_without_a_copy() {
    let mut stage = Stage::running().await;
    stage.prepare().await.unwrap();
    assert_reached(&stage).await;
    stage.at_source("precopy", stage.precopy(None)).await.unwrap();
    assert!(try_door(&stage, "final_copy.try").await.is_ok(), "also while a copy is open");
    stage.at_source("stop_source", stop()).await.unwrap();
    stage.at_source("final_copy", stage.final_copy()).await.unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    stage.way = Some(Route::Direct { address: nobody.to_string() });
    assert_eq!(code(try_door(&stage, "precopy.try").await), ErrorCode::Unreachable);
    stage.ticket = Ticket::random().to_string();
    stage.way = None;
    assert_eq!(code(try_door(&stage, "precopy.try#2").await), ErrorCode::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_dials_gets_the_server() {
    let mut stage = Stage::running().await;
    stage.prepare().await.unwrap();
    let (_proxy, _) = reverse(&mut stage).await;
    assert_reached(&stage).await;
    stage.at_source("precopy", stage.precopy(None)).await.unwrap();
    finish(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_dials_dials_again_when_it_is_cut() {
    let mut stage = Stage::running().await;
    stage.prepare().await.unwrap();
    let (proxy, _) = reverse(&mut stage).await;
    cut_in_the_middle(&stage, &proxy).await;
    assert!(proxy.connections() >= 2, "it dialled again");
    finish(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_restarts_goes_on_dialling() {
    let mut stage = Stage::running().await;
    stage.prepare().await.unwrap();
    let (proxy, _) = reverse(&mut stage).await;
    stage.at_source("precopy", stage.precopy(None)).await.unwrap();
    stage.at_source("stop_source", stop()).await.unwrap();
    let before = proxy.connections();
    stage.target.restart().await;
    assert_eq!(code(stage.at_source("final_copy", stage.final_copy()).await), ErrorCode::Unreachable);
    stage.at_source("final_copy#2", stage.final_copy()).await.unwrap();
    assert!(proxy.connections() > before, "the agent that came back has dialled");
    stage.at_source("fence_source", TransferAction::FenceSource).await.unwrap();
    stage.at_target("start_target", stage.start_target()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_restarts_lets_the_target_in_again() {
    let mut stage = Stage::running().await;
    stage.prepare().await.unwrap();
    // The source's listener is elsewhere afterwards: as with a service in front of it, the address stays.
    let rendezvous = Rendezvous::random().to_string();
    stage.source.restart().await;
    let proxy = Between::proxy(stage.source.node.data_address()).await;
    let route = Route::Reverse { address: proxy.address.to_string(), rendezvous };
    stage.at_target("prepare_target.reverse", TransferAction::DialSource { route: route.clone() }).await.unwrap();
    stage.way = Some(route);
    // Nobody has told this process of the rendezvous: the way itself does.
    stage.at_source("precopy", stage.precopy(None)).await.unwrap();
    finish(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_dial_a_relay() {
    let mut stage = Stage::running().await;
    stage.prepare().await.unwrap();
    let _relay = relay(&mut stage).await;
    assert_reached(&stage).await;
    stage.at_source("precopy", stage.precopy(None)).await.unwrap();
    finish(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_dial_a_relay_again_when_it_is_cut() {
    let mut stage = Stage::running().await;
    stage.prepare().await.unwrap();
    let relay = relay(&mut stage).await;
    cut_in_the_middle(&stage, &relay).await;
    assert!(relay.connections() >= 4, "both came twice");
    finish(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_a_host_is_at_the_panel() {
    let mut stage = Stage::running().await;
    stage.prepare().await.unwrap();
    let relay = Between::relay().await;
    for side in [&stage.source, &stage.target] {
        side.node.transfers.set_panel(&format!("http://{}", relay.address));
    }
    let path = |side: &str| Route::Relay { url: format!("/api/v1/agents/relay/x?side={side}&token=t") };
    stage.at_target("prepare_target.relay", TransferAction::DialSource { route: path("target") }).await.unwrap();
    stage.way = Some(path("source"));
    assert_reached(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_dial_nor_a_rendezvous_outlives_its_transfer() {
    let mut stage = Stage::running().await;
    stage.prepare().await.unwrap();
    let (proxy, rendezvous) = reverse(&mut stage).await;
    proxy.passed(1).await;
    let dial = dial(&stage).await;
    assert!(!dial.is_finished(), "somebody dials");
    stage.at_target("undo_prepare_target", TransferAction::AbortTarget).await.unwrap();
    let ended = async {
        while !dial.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("nobody dials any more");

    stage.at_source("undo_prepare_target", TransferAction::EndCopy).await.unwrap();
    let mut late = TcpStream::connect(stage.source.node.data_address()).await.unwrap();
    rendezvous.show(&mut late).await.unwrap();
    // An end or a reset: it is hung up on.
    let heard = tokio::time::timeout(PATIENCE, late.read(&mut [0])).await.unwrap();
    assert_eq!(heard.unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_dials_without_an_open_door() {
    let stage = Stage::running().await;
    let rendezvous = Rendezvous::random().to_string();
    let route = Route::Reverse { address: "127.0.0.1:1".to_owned(), rendezvous };
    let refused = stage.at_target("prepare_target.reverse", TransferAction::DialSource { route }).await;
    assert_eq!(code(refused), ErrorCode::Conflict);
    stage.prepare().await.unwrap();
    let route = Route::Direct { address: "127.0.0.1:1".to_owned() };
    let refused = stage.at_target("prepare_target.direct", TransferAction::DialSource { route }).await;
    assert_eq!(code(refused), ErrorCode::Conflict);
}
