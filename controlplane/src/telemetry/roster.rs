//! The NICs of this process, as probes, scrapes and traces see them.
//!
//! In: NICs that join and leave. Out: their health, together and one by one, and what there is to show of them.
//! Invariant: one NIC that is gone makes the process neither ill nor silent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use futures::future::join_all;
use p4runtime::client::Client;
use parking_lot::RwLock;

use super::counters::DeviceCounters;
use super::families::together;
use super::health::{Answer, Health};
use super::registry::Registry;
use super::server::Explainer;
use crate::slowpath;

/// What is shown of one NIC.
#[derive(Clone)]
pub struct Shown {
    /// Its health.
    pub health: Arc<Health>,
    /// Where it counts.
    pub registry: Registry,
    /// What its device counts.
    pub device: Arc<DeviceCounters>,
    /// What its slow path did.
    pub slow_path: Option<Arc<slowpath::Counters>>,
    /// The session with its device.
    pub client: Option<Client>,
    /// Who explains its packets; none: nobody.
    pub explainer: Option<Arc<Explainer>>,
}

/// Who is there.
pub struct Roster {
    nics: RwLock<BTreeMap<Arc<str>, Shown>>,
    /// There is one, of the node that this process runs on: it needs no name.
    alone: bool,
}

impl Roster {
    /// The NIC of the node that this process runs on.
    pub fn alone(nic: Shown) -> Self {
        Self {
            nics: RwLock::new(BTreeMap::from([(Arc::from(""), nic)])),
            alone: true,
        }
    }

    /// The NICs of many nodes; none yet.
    pub fn many() -> Self {
        Self {
            nics: RwLock::default(),
            alone: false,
        }
    }

    /// A node's NIC is there.
    pub fn join(&self, node: &str, nic: Shown) {
        self.nics.write().insert(Arc::from(node), nic);
    }

    /// It leaves, with all that was shown of it.
    pub fn leave(&self, node: &str) {
        self.nics.write().remove(node);
    }

    /// A node's NIC; without a name the one that needs none.
    pub fn nic(&self, node: &str) -> Option<Shown> {
        self.nics.read().get(node).cloned()
    }

    /// The names of all nodes.
    pub fn nodes(&self) -> Vec<String> {
        self.nics
            .read()
            .keys()
            .map(|node| node.to_string())
            .collect()
    }

    /// Of the process: it is well while one of its NICs is, or has none yet. Who restarts it, or keeps clients from it, must
    /// not do so for one NIC that is gone.
    pub fn healthz(&self, now: SystemTime) -> Answer {
        self.best(now, |health| health.healthz(now))
    }

    /// As [`healthz`](Self::healthz), without the nodes.
    pub fn livez(&self, now: SystemTime) -> Answer {
        self.best(now, |health| health.livez(now))
    }

    fn best(&self, now: SystemTime, ask: impl Fn(&Health) -> Answer) -> Answer {
        let nics = self.nics.read();
        let mut answers: Vec<Answer> = nics.values().map(|nic| ask(&nic.health)).collect();
        match answers.iter().position(|answer| answer.healthy) {
            Some(at) => answers.swap_remove(at),
            None => answers.pop().unwrap_or_else(|| Answer::idle(now)),
        }
    }

    /// Everything that the NICs count, behind what the process counts, as text for a scrape. The devices are read at one
    /// time.
    pub async fn render(&self, process: String) -> String {
        let nics: Vec<(Arc<str>, Shown)> = {
            let nics = self.nics.read();
            nics.iter()
                .map(|(node, nic)| (node.clone(), nic.clone()))
                .collect()
        };
        join_all(nics.iter().map(|(_, nic)| nic.device.renew())).await;
        let of_nics = nics.iter().map(|(node, nic)| {
            let label = (!self.alone).then_some(&**node);
            (label, nic.registry.render() + &of_nic(nic))
        });
        together(std::iter::once((None, process)).chain(of_nics))
    }
}

/// What one NIC's device, slow path and session count.
fn of_nic(nic: &Shown) -> String {
    let mut text = nic.device.render();
    if let Some(counters) = &nic.slow_path {
        text.push_str("# HELP nicproxy_slow_path_total What the slow path did\n# TYPE nicproxy_slow_path_total counter\n");
        for (event, count) in counters.snapshot().named() {
            text.push_str(&format!(
                "nicproxy_slow_path_total{{event=\"{event}\"}} {count}\n"
            ));
        }
    }
    if let Some(drops) = nic.client.as_ref().map(Client::drops) {
        text.push_str("# HELP nicproxy_stream_drops_total Messages lost because a queue was full or the stream broke\n");
        text.push_str("# TYPE nicproxy_stream_drops_total counter\n");
        for (queue, count) in [
            ("packet_in", drops.packets),
            ("packet_out", drops.outgoing),
            ("idle_timeout", drops.idle),
            ("digest", drops.digests),
            ("error", drops.errors),
        ] {
            text.push_str(&format!(
                "nicproxy_stream_drops_total{{queue=\"{queue}\"}} {count}\n"
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn shown(health: &Arc<Health>) -> Shown {
        Shown {
            health: health.clone(),
            registry: Registry::default(),
            device: Arc::default(),
            slow_path: None,
            client: None,
            explainer: None,
        }
    }

    #[test]
    fn one_nic_that_is_gone_does_not_make_the_process_ill() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let late = start + Duration::from_secs(100);
        let [good, bad] = [(); 2].map(|()| Arc::new(Health::new(Duration::from_secs(30))));
        bad.queued(start);
        let roster = Roster::many();
        assert!(roster.livez(late).healthy, "nothing to do yet");
        roster.join("bad", shown(&bad));
        assert!(!roster.livez(late).healthy);
        roster.join("good", shown(&good));
        assert!(roster.livez(late).healthy && roster.healthz(late).healthy);
        assert!(!roster.nic("bad").unwrap().health.healthz(late).healthy);
        assert!(roster.nic("other").is_none());
        good.node_eligible(false);
        assert!(!roster.healthz(late).healthy && roster.livez(late).healthy);
        roster.leave("good");
        assert!(!roster.livez(late).healthy);
        bad.stand_by(true);
        assert!(roster.livez(late).healthy, "another one programs it");
    }
}
