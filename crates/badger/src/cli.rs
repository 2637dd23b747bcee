//! The command line: what there is, and who runs it.

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::client::{
    self, allocation, announcement, audit, backup, cluster, egg, evacuate, flag, key, node, role, server, subuser,
    transfer, user,
};
use crate::completion::{self, CompletionArgs};
use crate::exit::Exit;
use crate::ledger::{self, LedgerCommand};
use crate::logging::LogArgs;
use crate::{copy, demo, doctor, install_launcher, launcher, mover, orchestrator, roles};

/// Of commands that a person waits for. What goes wrong with a cluster is their finding, and said once.
const QUIET: &str = "warn,kube_client=off";

const EXAMPLES: &str = "\
Try it, without Docker and without root:
  badger demo                      a panel, two nodes, a live game server; migrates it and prints the receipt

Set it up:
  badger panel --data /var/lib/badger-panel --listen 0.0.0.0:8080
  export BADGER_URL=http://panel:8080 BADGER_API_KEY=$(cat /var/lib/badger-panel/admin.key)
  badger node create alpha --memory 16G --disk 200G      prints the command to run on that machine
  badger cluster create eu                               prints the command that installs the orchestrator there
  badger daemon --panel http://panel:8080 --token bpe_… --data /var/lib/badger

Move a server while people play on it:
  badger server transfer survival --to beta --wait
  badger node evacuate alpha --to beta --wait            all of them, two at a time

The panel's address and the API key come from BADGER_URL and BADGER_API_KEY, or BADGER_API_KEY_FILE. Names are taken
wherever ids are. With --json an answer is one JSON document on standard output, an error one on standard error.

Exit codes:
  0    done
  1    failed; standard error says why
  2    wrong command line
  3    the transfer was rolled back or cancelled: the server is where it was, as it was
  4    the transfer is stuck: a person must look
  5    of several servers some were, or could, not be moved
  130  interrupted";

/// Moves game servers between nodes while people play on them.
#[derive(Parser, Debug)]
#[command(name = "badger", version, after_help = EXAMPLES, after_long_help = EXAMPLES, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show it all on this machine: panel, two daemons, a game server that moves while it is played
    Demo(demo::DemoArgs),
    /// Run the panel: API, database, coordination
    Panel(roles::PanelArgs),
    /// Run the daemon of a node: keeps its game servers and moves them
    Daemon(roles::DaemonArgs),
    /// Run the orchestrator of a Kubernetes cluster: keeps its game servers and moves them
    Orchestrator(orchestrator::OrchestratorArgs),
    /// Run the mover of a game server's pod
    #[command(hide = true)]
    Mover(mover::MoverArgs),
    /// Machines that run servers
    Node(client::Command<node::NodeCommand>),
    /// Kubernetes clusters that run servers
    Cluster(client::Command<cluster::ClusterCommand>),
    /// Addresses of nodes
    Allocation(client::Command<allocation::AllocationCommand>),
    /// Recipes that servers are made from
    Egg(client::Command<egg::EggCommand>),
    /// Game servers
    Server(client::Command<server::ServerCommand>),
    /// Copies of servers in object storage
    Backup(client::Command<backup::BackupCommand>),
    /// Moves of servers
    Transfer(client::Command<transfer::TransferCommand>),
    /// Several servers at once: all of a node or cluster, or some
    Evacuate(client::Command<evacuate::EvacuateCommand>),
    /// Switches of the panel
    Flag(client::Command<flag::FlagCommand>),
    /// API keys
    Key(client::Command<key::KeyCommand>),
    /// People who log in
    User(client::Command<user::UserCommand>),
    /// What users may do
    Role(client::Command<role::RoleCommand>),
    /// Who is let in at a server beside its owner
    Subuser(client::Command<subuser::SubuserCommand>),
    /// What everybody should read
    Announcement(client::Command<announcement::AnnouncementCommand>),
    /// Who changed what, and when
    Audit(audit::AuditArgs),
    /// Print a script that completes this command line in a shell
    Completion(CompletionArgs),
    /// Copy a directory with the transfer engine alone
    Copy(copy::CopyArgs),
    /// Check this machine, or a cluster, before it joins: each finding with its cure
    Doctor(doctor::DoctorArgs),
    #[command(hide = true)]
    Launcher(launcher::LauncherArgs),
    #[command(hide = true)]
    InstallLauncher(install_launcher::InstallLauncherArgs),
    /// The demo's game server
    #[command(subcommand, hide = true)]
    Ledger(LedgerCommand),
}

impl Cli {
    /// Whether what goes wrong is to be told as JSON.
    pub(crate) fn wants_json(&self) -> bool {
        match &self.command {
            Command::Node(it) => it.wants_json(),
            Command::Cluster(it) => it.wants_json(),
            Command::Allocation(it) => it.wants_json(),
            Command::Egg(it) => it.wants_json(),
            Command::Server(it) => it.wants_json(),
            Command::Transfer(it) => it.wants_json(),
            Command::Evacuate(it) => it.wants_json(),
            Command::Flag(it) => it.wants_json(),
            Command::Key(it) => it.wants_json(),
            Command::User(it) => it.wants_json(),
            Command::Role(it) => it.wants_json(),
            Command::Subuser(it) => it.wants_json(),
            Command::Announcement(it) => it.wants_json(),
            Command::Audit(args) => args.api.wants_json(),
            _ => false,
        }
    }

    /// Runs what was asked for.
    pub(crate) fn run(self) -> Result<Exit> {
        let is_role = self.command.is_role();
        self.log.start(if is_role { "info" } else { QUIET })?;
        match self.command {
            Command::Demo(args) => demo::run(&args),
            Command::Panel(args) => roles::panel(args),
            Command::Daemon(args) => roles::daemon(args),
            Command::Orchestrator(args) => orchestrator::run(args),
            Command::Mover(args) => mover::run(args),
            Command::Node(it) => node::run(it.command, &it.api.connect()?),
            Command::Cluster(it) => cluster::run(it.command, &it.api.connect()?),
            Command::Allocation(it) => allocation::run(it.command, &it.api.connect()?),
            Command::Egg(it) => egg::run(it.command, &it.api.connect()?),
            Command::Server(it) => server::run(it.command, &it.api.connect()?),
            Command::Backup(it) => backup::run(it.command, &it.api.connect()?),
            Command::Transfer(it) => transfer::run(it.command, &it.api.connect()?),
            Command::Evacuate(it) => evacuate::run(it.command, &it.api.connect()?),
            Command::Role(it) => role::run(it.command, &it.api.connect()?),
            Command::Subuser(it) => subuser::run(it.command, &it.api.connect()?),
            Command::Announcement(it) => announcement::run(it.command, &it.api.connect()?),
            Command::Audit(args) => audit::run(&args, &args.api.connect()?),
            Command::Completion(args) => completion::run(&args),
            Command::Flag(it) => flag::run(it.command, &it.api.connect()?),
            Command::Key(it) => key::run(it.command, &it.api.connect()?),
            Command::User(it) => user::run(it.command, &it.api.connect()?),
            Command::Copy(args) => run_copy(args),
            Command::Doctor(args) => doctor::run(&args),
            Command::Launcher(args) => launcher::run(args),
            Command::InstallLauncher(args) => install_launcher::run(&args),
            Command::Ledger(command) => ledger::run(command),
        }
    }
}

impl Command {
    /// Whether it runs for long and tells a log what it does.
    fn is_role(&self) -> bool {
        matches!(self, Self::Panel(_) | Self::Daemon(_) | Self::Launcher(_) | Self::Orchestrator(_) | Self::Mover(_))
    }
}

fn run_copy(args: copy::CopyArgs) -> Result<Exit> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the asynchronous runtime")?;
    runtime.block_on(copy::run(args))?;
    Ok(Exit::Done)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_commands_of_the_documentation_parse() {
        for line in [
            "badger demo --size 1G --keep --no-migrate --json",
            "badger panel --data d --listen 127.0.0.1:0 --public-url http://x",
            "badger daemon --panel http://x --token bpe_x --data d --data-listen 127.0.0.1:0 --runtime process",
            "badger daemon --panel http://x --data d --runtime docker --docker-host unix:///run/docker.sock",
            "badger orchestrator --config c.yml --kubeconfig k --state-dir s --hub-listen 127.0.0.1:0",
            "badger mover --orchestrator h:1 --fingerprint f --token-file t --server 0198c0de-0000-7000-8000-000000000001",
            "badger node create alpha --memory 16G --disk 200G --url http://x --key bp_x",
            "badger node --json list",
            "badger allocation create --node alpha 0.0.0.0 25565 25570-25580",
            "badger server transfer survival --to beta --wait",
            "badger cluster create eu --address 203.0.113.7 --memory 64G",
            "badger cluster join-command eu --helm",
            "badger cluster set eu --cordoned yes",
            "badger allocation create --cluster eu 30000-30010",
            "badger server create s --egg e --cluster eu --cpu 150",
            "badger transfer start survival --to-cluster eu --wait",
            "badger transfer start survival --to-node beta",
            "badger transfer preflight survival --json",
            "badger transfer preflight survival --to-cluster eu",
            "badger server command survival say hello there",
            "badger transfer cancel 0198 --json",
            "badger transfer pause 0198",
            "badger transfer undo 0198 --wait",
            "badger transfer limit 0198 --bandwidth none --max-freeze 2",
            "badger server transfer a b c --to beta --at-once 3 --wait",
            "badger evacuate plan --from alpha --to beta",
            "badger evacuate start a b --to-cluster eu --mode cold --wait",
            "badger evacuate cancel 0198 --running cancel --wait",
            "badger evacuate retry 0198 --json",
            "badger node evacuate alpha --to beta --plan",
            "badger cluster evacuate eu --to beta --no-cordon --at-once 4",
            "badger node cordon alpha",
            "badger node capacity alpha --json",
            "badger server console survival -f -n 5",
            "badger role create r --permission admin.servers.list",
            "badger subuser add survival kim --permission server.power",
            "badger announcement create hello --level warning",
            "badger audit --action transfer -n 7 --json",
            "badger completion bash",
            "badger flag set server_transfers off",
            "badger backup create survival --name x --wait --json",
            "badger backup restore survival latest --stop --wait",
            "badger backup storage add minio --endpoint http://x:9000 --bucket b --access-key k --secret-file -",
            "badger user list --json",
            "badger user create kim --email kim@example.com --role Moderator --password-file -",
            "badger user set-password admin",
            "badger user disable kim",
            "badger server set survival --owner kim",
            "badger key create deploy --scope admin.servers.* --network 10.0.0.0/8",
            "badger panel --data d --trusted-proxy 10.0.0.0/8,::1/128 --requests-per-s 50",
            "badger panel --data d --allow-private-webhooks --allow-link-local-webhooks",
            "badger launcher --server-id 0198c0de-0000-7000-8000-000000000001 --permit-key k \
             --agent-id 0198c0de-0000-7000-8000-000000000002 --socket s --place p --data d --run r",
            "badger ledger serve --listen 127.0.0.1:1 --size 1G",
            "badger doctor --data /var/lib/badger",
            "badger doctor --cluster --kubeconfig k --node-ports 30000-30100",
        ] {
            if let Err(e) = Cli::try_parse_from(line.split(' ')) {
                panic!("{line}: {e}");
            }
        }
    }

    #[test]
    fn a_wrong_command_line_exits_with_2() {
        for line in [
            "badger demo --size huge",
            "badger server transfer survival",
            "badger transfer start survival --to-node a --to-cluster b",
            "badger server create s --egg e",
            "badger evacuate start --to beta",
            "badger evacuate start a --from alpha --to beta",
            "badger evacuate plan a",
            "badger node evacuate alpha",
            "badger node evacuate alpha --to beta --plan --wait",
            "badger transfer limit 0198 --bandwidth much",
            "badger completion nosh",
        ] {
            assert_eq!(Cli::try_parse_from(line.split(' ')).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
