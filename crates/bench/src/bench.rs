//! What the scenarios share: the programs, the figures so far, and the sessions that several of them need.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use reqwest::Client;
use tempfile::TempDir;

use crate::api::{self, KEY, Network, ReceiverApi, Server};
use crate::cli::Cli;
use crate::process::Program;
use crate::receiver;
use crate::report::Figure;

/// A benchmark that runs.
pub(crate) struct Bench {
    /// The program without the sandbox, where there is one.
    pub(crate) production: Option<PathBuf>,
    /// The program with the sandbox.
    pub(crate) sandbox: PathBuf,
    out: PathBuf,
    http: Client,
    figures: Vec<Figure>,
    /// Kept from one scenario to the next.
    pub(crate) fleet: Option<Fleet>,
}

/// A server and a network that it is on, each in a process of its own.
pub(crate) struct Stack {
    /// The server's API.
    pub(crate) api: Server,
    /// The network's control API.
    pub(crate) network: Network,
    /// The server's process.
    pub(crate) server: Program,
    /// The network's process.
    pub(crate) network_program: Program,
    sandbox: PathBuf,
    http: Client,
    folder: TempDir,
}

/// A receiver of webhooks, a process of its own.
pub(crate) struct Receiver {
    /// What it is asked.
    pub(crate) api: ReceiverApi,
    /// Its process.
    pub(crate) program: Program,
    _folder: TempDir,
}

/// A server with linked sessions.
pub(crate) struct Fleet {
    pub(crate) stack: Stack,
    /// How many they are.
    pub(crate) sessions: usize,
}

impl Bench {
    pub(crate) fn new(cli: &Cli) -> anyhow::Result<Self> {
        let absolute = |path: &PathBuf| {
            path.canonicalize()
                .with_context(|| format!("there is no {}", path.display()))
        };
        Ok(Self {
            production: cli.production.as_ref().map(absolute).transpose()?,
            sandbox: absolute(&cli.sandbox)?,
            out: absolute(&cli.out)?,
            http: api::client()?,
            figures: Vec::new(),
            fleet: None,
        })
    }

    /// Notes a figure.
    pub(crate) fn note(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// A folder on the measured disk, gone when it is dropped.
    pub(crate) fn folder(&self) -> anyhow::Result<TempDir> {
        Ok(tempfile::Builder::new().prefix("run-").tempdir_in(&self.out)?)
    }

    /// A client of the server that listens at this address.
    pub(crate) fn api(&self, address: &str) -> Server {
        Server::new(self.http.clone(), address)
    }

    /// A new server on a new network.
    pub(crate) async fn stack(&self) -> anyhow::Result<Stack> {
        let folder = self.folder()?;
        std::fs::create_dir(folder.path().join("network"))?;
        std::fs::create_dir(folder.path().join("server"))?;
        let arguments = ["sandbox", "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0"];
        let network_program = Program::start(&self.sandbox, &folder.path().join("network"), &arguments, &[]).await?;
        let network = Network::new(self.http.clone(), &network_program.address);
        let (sandbox, http) = (self.sandbox.clone(), self.http.clone());
        let server = start_server(&sandbox, &folder, &network_program).await?;
        Ok(Stack {
            api: Server::new(http.clone(), &server.address),
            network,
            server,
            network_program,
            sandbox,
            http,
            folder,
        })
    }

    /// A new receiver of webhooks that listens there: this program once more.
    pub(crate) async fn receiver(&self, listen: &str) -> anyhow::Result<Receiver> {
        let folder = self.folder()?;
        let arguments = [receiver::MODE, listen];
        let program = Program::start(&std::env::current_exe()?, folder.path(), &arguments, &[]).await?;
        Ok(Receiver {
            api: ReceiverApi::new(self.http.clone(), &program.address),
            program,
            _folder: folder,
        })
    }

    /// Ends everything. Answers the figures, and whether they can be trusted.
    pub(crate) async fn finish(mut self) -> (Vec<Figure>, anyhow::Result<()>) {
        let ended = match self.fleet.take() {
            Some(fleet) => fleet.stack.stop().await,
            None => Ok(()),
        };
        (self.figures, ended)
    }
}

impl Stack {
    /// Starts the server again, on what it left behind; it must have been stopped. With a new process comes a new port.
    pub(crate) async fn restart(self, stop: impl AsyncFnOnce(Program) -> anyhow::Result<()>) -> anyhow::Result<Self> {
        stop(self.server).await?;
        let server = start_server(&self.sandbox, &self.folder, &self.network_program).await?;
        Ok(Self {
            api: Server::new(self.http.clone(), &server.address),
            server,
            ..self
        })
    }

    /// Stops the server and the network. Fails where the network objects to what it saw: such a run proves nothing.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let objections = self.network.objections().await?;
        self.server.stop().await?;
        self.network_program.stop().await?;
        ensure!(
            objections.is_empty(),
            "the network objects to\n{}",
            objections.join("\n")
        );
        Ok(())
    }
}

async fn start_server(program: &Path, folder: &TempDir, network: &Program) -> anyhow::Result<Program> {
    let url = format!("ws://{}/ws/chat", network.address);
    let settings = [("WAHA_API_KEY", KEY), ("WHARF_SANDBOX_URL", url.as_str())];
    let arguments = ["serve", "--port", "0"];
    Program::start(program, &folder.path().join("server"), &arguments, &settings).await
}
