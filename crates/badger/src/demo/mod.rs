//! `badger demo`: the whole product on one machine in one go, without Docker and without root.
//!
//! Panel and daemons are separate processes of this executable on loopback; everything is done through the public
//! API. It is a proof, not a show: it fails unless the migration completes, both tree roots are equal, and every record
//! that the game acknowledged to its client is found again.

mod house;
mod leftovers;
mod receipt;
mod setup;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use self::house::{House, Interrupted};
use self::receipt::Receipt;
use self::setup::{Node, Up};
use crate::client::api::Api;
use crate::client::transfer::{exit_of, facts};
use crate::client::watch::{self, View, Watched};
use crate::exit::Exit;
use crate::ledger::play::{self, Player};
use crate::ledger::record::{ClientName, Sum};
use crate::ledger::verify::{self, Acknowledged};
use crate::signals::Stop;
use crate::{output, units};

const PATIENCE: Duration = Duration::from_mins(1);
/// Records that the client gets acknowledged before the move begins, and again behind it.
const WARM_UP: u64 = 25;

/// Arguments of `badger demo`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  badger demo --size 1G\n  badger demo --keep            then try the API with what it prints\n  \
    badger demo --keep --no-migrate --json\n\nExit codes: 0 only if the move completed and every acknowledged record was found again; \
    3 if it was rolled back"
)]
pub(crate) struct DemoArgs {
    /// Size of the game's world
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size, default_value = "64M")]
    size: u64,
    /// Bytes per second that the game rewrites while it is moved
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size, default_value = "1M")]
    dirty: u64,
    /// Records per second that the client sends
    #[arg(long, value_name = "N", default_value_t = 50)]
    rate: u32,
    /// New directory for everything [default: a temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Leave everything up at the end, until Ctrl-C or SIGTERM
    #[arg(long)]
    keep: bool,
    /// Set everything up, but do not move the server
    #[arg(long)]
    no_migrate: bool,
    /// Print one line of JSON when it is up and one for the receipt
    #[arg(long)]
    json: bool,
}

/// Runs the demo. Everything that it starts has ended when it returns.
pub(crate) fn run(args: &DemoArgs) -> Result<Exit> {
    let stop = Stop::on_signals()?;
    let mut house = House::new(args.data.as_deref(), stop)?;
    match (Demo { args }).play(&mut house) {
        Err(e) if e.is::<Interrupted>() => Ok(Exit::Interrupted),
        Err(e) => {
            output::note(format!("error: {e:#}"));
            house.show_logs();
            Ok(Exit::Failed)
        }
        // The cause is on the screen; the logs say more.
        Ok(exit @ (Exit::RolledBack | Exit::Stuck)) => {
            house.show_logs();
            Ok(exit)
        }
        Ok(exit) => Ok(exit),
    }
}

struct Demo<'a> {
    args: &'a DemoArgs,
}

impl Demo<'_> {
    fn play(&self, house: &mut House) -> Result<Exit> {
        let (api, up) = self.set_up(house)?;
        if self.args.json {
            output::json(&up);
        }
        let exit = if self.args.no_migrate { Exit::Done } else { self.migrate(house, &api, &up)? };
        if self.args.keep && exit == Exit::Done {
            self.say("");
            self.say(format!(
                "Everything stays up until Ctrl-C. In a browser: {} (user admin, password {})",
                up.url,
                house.password()?
            ));
            self.say("In another terminal:");
            self.say(format!("  export BADGER_URL={} BADGER_API_KEY={}", up.url, up.api_key));
            self.say("  badger server list");
            self.say(format!("  badger server transfer ledger --to {} --wait", up.nodes[0].name));
            house.stay();
        }
        Ok(exit)
    }

    fn set_up(&self, house: &mut House) -> Result<(Api, Up)> {
        self.say(format!("BadgerPanel demo in {}", house.dir().display()));
        let (url, api_key, panel_pid) = house.start_panel()?;
        self.done("panel", &format!("{url}, process {panel_pid}"));
        let api = Api::new(&url, &api_key)?;
        let mut nodes = Vec::new();
        for name in ["alpha", "beta"] {
            let node = setup::node(house, &api, name, 4 * setup::disk_mb(self.args.size))?;
            self.done(&format!("node {name}"), &format!("enrolled, process {}", node.pid));
            nodes.push(node);
        }
        let (server_id, game_address) = setup::server(house, &api, &nodes[0], self.args.size, self.args.dirty)?;
        let size = units::bytes(self.args.size);
        self.done("server", &format!("running on alpha at {game_address} with a world of {size}"));
        Ok((api, Up { url, api_key, server_id, nodes, panel_pid, game_address }))
    }

    fn migrate(&self, house: &mut House, api: &Api, up: &Up) -> Result<Exit> {
        let client: ClientName = "demo-client".parse()?;
        let player = Player::start(play::Config {
            client: client.clone(),
            addresses: vec![up.game_address.clone()],
            rate: self.args.rate,
            count: None,
            patience: PATIENCE,
        })?;
        wait_for_records(house, &player, WARM_UP)?;
        self.done("client", &format!("plays on {}, {} records per second", up.game_address, self.args.rate));
        self.say("");
        self.say("Moving the server from alpha to beta while it is played:");
        let transfer = self.transfer(house, api, up, &player)?;
        if exit_of(&transfer) != Exit::Done {
            for (name, text) in facts(&transfer) {
                output::note(format!("  {name:24}{text}"));
            }
            return Ok(exit_of(&transfer));
        }
        let after = player.stats().acknowledged + WARM_UP;
        wait_for_records(house, &player, after).context("the client does not come back after the move")?;
        let (outcome, acknowledged) = player.finish().context("the client cannot verify its records")?;
        check_owner(api, up)?;
        let world = if self.args.keep { None } else { Some(prove(house, up, &client, &acknowledged)?) };
        let receipt = Receipt::new(&transfer, &outcome, world)?;
        if self.args.json {
            output::json(&receipt);
        } else {
            self.say("");
            self.say("Receipt");
            receipt.lines().into_iter().for_each(output::line);
        }
        Ok(Exit::Done)
    }

    /// Starts the transfer and follows it to its end.
    fn transfer(&self, house: &mut House, api: &Api, up: &Up, player: &Player) -> Result<Value> {
        let target = &up.nodes[1];
        let body = json!({"target_node_id": target.node_id, "allocation_id": target.allocation_ids.first()});
        let transfer = api
            .post(&format!("/admin/servers/{}/transfer", up.server_id), &body)
            .context("the panel refuses the transfer")?;
        player.add_address(&crate::client::field(&transfer, "target.allocation"));
        let id = setup::text(&transfer, "id")?;
        // The watch ends when a process of ours does: without it the transfer might never be over.
        let watching = Stop::default();
        let mut view = Guarded { house, stop: &watching, inner: watch::view(self.args.json) };
        match watch::follow(api, &id, &watching, &mut view)? {
            Watched::Over(transfer) => Ok(transfer),
            Watched::Interrupted => {
                house.check()?;
                bail!("the watch ended without a reason")
            }
        }
    }

    /// Tells people; with `--json` on standard error, because standard output is for programs then.
    fn say(&self, text: impl AsRef<str>) {
        if self.args.json {
            output::note(text);
        } else {
            output::line(text);
        }
    }

    fn done(&self, what: &str, text: &str) {
        self.say(format!("  ✔ {what:12}{text}"));
    }
}

/// A view that ends the watch when the house is not in order any more.
struct Guarded<'a> {
    house: &'a mut House,
    stop: &'a Stop,
    inner: Box<dyn View>,
}

impl View for Guarded<'_> {
    fn show(&mut self, transfer: &Value, progress: &Value) {
        self.inner.show(transfer, progress);
        if self.house.check().is_err() {
            self.stop.request();
        }
    }
}

fn wait_for_records(house: &mut House, player: &Player, records: u64) -> Result<()> {
    house.wait_for("the client", PATIENCE, || Ok((player.stats().acknowledged >= records).then_some(())))
}

fn check_owner(api: &Api, up: &Up) -> Result<()> {
    let server = api.get(&format!("/admin/servers/{}", up.server_id))?;
    let owner = setup::text(&server, "node_id")?;
    anyhow::ensure!(owner == up.nodes[1].node_id, "the panel says that the server is on {owner}");
    Ok(())
}

/// Stops the game and proves from the files that arrived on the target that everything is there.
fn prove(house: &mut House, up: &Up, client: &ClientName, acknowledged: &[(u64, Sum)]) -> Result<verify::Findings> {
    house.stop_game().context("the moved game does not stop in good order")?;
    let acknowledged: Vec<_> =
        acknowledged.iter().map(|&(seq, sum)| Acknowledged { client: client.clone(), seq, sum }).collect();
    verify::world(&world_of(&up.nodes[1], &up.server_id), Some(&acknowledged))
}

fn world_of(node: &Node, server_id: &str) -> PathBuf {
    Path::new(&node.data_dir).join("servers").join(server_id).join("data")
}
