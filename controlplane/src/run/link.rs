//! One device with everything that belongs to its session: the program it is to run, and the slow path.
//!
//! In: address, program, bounds. Out: a [`Device`](crate::device::Device) for the reconciler. Whenever this client
//! becomes the primary, after the device restarted too, the program is loaded if another one or none runs. Everything
//! counts where whoever starts it counts.

use std::sync::Arc;
use std::time::Duration;

use p4runtime::client::{Client, ClientError, Config as ClientConfig, Notifications, State};
use softnic::Running;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::device::Session;
use crate::pipeline::{self, Ensured, Image};
use crate::slowpath::{self, SlowPath};
use crate::telemetry::registry::Registry;

/// Wait after the program could not be loaded.
const RETRY: Duration = Duration::from_secs(1);

/// A device and the tasks around it, which end when this is dropped.
pub struct Link {
    /// The device.
    pub device: Arc<Session>,
    /// The session with it.
    pub client: Client,
    /// What the slow path did.
    pub slow_path: Arc<slowpath::Counters>,
    tasks: JoinSet<()>,
}

impl Link {
    /// Starts a session; connects in the background, for as long as it takes.
    ///
    /// # Errors
    /// When the address is none.
    pub fn start(config: &Config, image: Option<Image>) -> Result<Self, ClientError> {
        Self::start_beside(config, image, None)
    }

    /// As [`Link::start`], with a device that may be in this process.
    ///
    /// # Errors
    /// When the address is none.
    pub fn start_beside(
        config: &Config,
        image: Option<Image>,
        nic: Option<&Running>,
    ) -> Result<Self, ClientError> {
        let address = config.device.address.clone();
        let mut settings = ClientConfig::new(address.clone());
        settings.device_id = config.device.device_id;
        settings.role.clone_from(&config.device.role);
        settings.election_id = Some(config.device.election_id);
        settings.queue = config.slow_path.queue;
        settings.tls = config.device.tls.client(&address);
        settings.local = nic.map(Running::service);
        let (client, notifications) = Client::start(settings)?;
        let device = Arc::new(Session::new(address, client.clone()));
        let mut tasks = JoinSet::new();
        let registry = Registry::current();
        let outlet = Arc::new(client.clone());
        let slow_path = SlowPath::new(device.clone(), outlet, config.slow_path_bounds());
        let counters = slow_path.counters();
        let Notifications {
            packets,
            idle,
            mut errors,
            mut digests,
        } = notifications;
        tasks.spawn(async move { registry.scope(slow_path.run(packets, idle)).await });
        tasks.spawn(async move { while digests.recv().await.is_some() {} });
        tasks.spawn(async move {
            while let Some(error) = errors.recv().await {
                tracing::warn!(
                    code = error.canonical_code,
                    "the device could not take a message: {}",
                    error.message
                );
            }
        });
        tasks.spawn(keep_program(client.clone(), device.clone(), image));
        Ok(Self {
            device,
            client,
            slow_path: counters,
            tasks,
        })
    }

    /// Ends the session and its tasks. Entries stay, so traffic goes on.
    pub async fn shutdown(mut self) {
        self.client.shutdown().await;
        self.tasks.shutdown().await;
    }
}

async fn keep_program(client: Client, device: Arc<Session>, image: Option<Image>) {
    let mut state = client.state();
    loop {
        let now = state.borrow_and_update().clone();
        let mut again = false;
        match now {
            State::Closed => return,
            State::Primary => match pipeline::ensure(&client, image.as_ref()).await {
                Ok(Ensured::Kept) => {}
                Ok(Ensured::Pushed) => {
                    tracing::info!(
                        program = image.as_ref().map(|image| &*image.name),
                        "loaded the program"
                    );
                    device.renew();
                }
                Err(error) => {
                    tracing::error!("{error}");
                    again = true;
                }
            },
            State::Backup { primary } => {
                tracing::warn!(
                    ?primary,
                    "another controller is the primary; give a higher --election-id to take over"
                );
            }
            State::Disconnected {
                reason, attempt, ..
            } => tracing::warn!(attempt, "no session: {reason}"),
            State::Connecting | State::NoPrimary { .. } => {}
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY), if again => {}
        }
    }
}
