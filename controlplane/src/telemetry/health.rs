//! Whether the proxy does its work (S75-S77).
//!
//! In: when changes were queued and written, whether the node may take traffic, and whether another client does the work. Out: the answers of `/healthz` and
//! `/livez`. Time is a parameter. Invariant: an idle proxy, and one that has not begun, is healthy.

use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde::Serialize;

/// State behind the probes.
#[derive(Debug)]
pub struct Health {
    state: Mutex<State>,
    patience: Duration,
}

#[derive(Debug)]
struct State {
    /// When the oldest change that is not written yet was queued.
    queued: Option<SystemTime>,
    updated: Option<SystemTime>,
    eligible: bool,
    standing_by: bool,
}

/// Body of a probe's answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// When everything was last as it should be.
    pub last_updated: String,
    /// When this was asked.
    pub current_time: String,
    /// Whether the node may take traffic from outside; `/livez` leaves it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_eligible: Option<bool>,
    /// The verdict; also the HTTP status.
    #[serde(skip)]
    pub healthy: bool,
}

impl Health {
    /// Unhealthy is who leaves a change waiting for more than twice the sync period.
    pub fn new(sync_period: Duration) -> Self {
        Self {
            state: Mutex::new(State {
                queued: None,
                updated: None,
                eligible: true,
                standing_by: false,
            }),
            patience: sync_period * 2,
        }
    }

    /// A change waits to be written.
    pub fn queued(&self, now: SystemTime) {
        self.state.lock().queued.get_or_insert(now);
    }

    /// Everything that was queued is written.
    pub fn updated(&self, now: SystemTime) {
        let mut state = self.state.lock();
        state.queued = None;
        state.updated = Some(now);
    }

    /// The node may, or may not, take traffic from outside.
    pub fn node_eligible(&self, eligible: bool) {
        self.state.lock().eligible = eligible;
    }

    /// Another client programs the device, or not any more: what waits here is its business.
    pub fn stand_by(&self, standing_by: bool) {
        let mut state = self.state.lock();
        state.standing_by = standing_by;
        if standing_by {
            state.queued = None;
        }
    }

    /// Whether the proxy works and the node takes traffic: for load balancers.
    pub fn healthz(&self, now: SystemTime) -> Answer {
        let eligible = self.state.lock().eligible;
        let mut answer = self.livez(now);
        answer.healthy &= eligible;
        answer.node_eligible = Some(eligible);
        answer
    }

    /// Whether the proxy works: for restarts (KEP-3836).
    pub fn livez(&self, now: SystemTime) -> Answer {
        let state = self.state.lock();
        let waited = state
            .queued
            .and_then(|queued| now.duration_since(queued).ok());
        Answer {
            last_updated: state.updated.map_or_else(String::new, in_words),
            current_time: in_words(now),
            node_eligible: None,
            healthy: state.standing_by || waited.is_none_or(|waited| waited <= self.patience),
        }
    }
}

impl Answer {
    /// Of who has nothing to do.
    pub(super) fn idle(now: SystemTime) -> Self {
        Self {
            last_updated: String::new(),
            current_time: in_words(now),
            node_eligible: None,
            healthy: true,
        }
    }
}

/// RFC 3339.
fn in_words(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s75_to_s77() {
        let health = Health::new(Duration::from_secs(30));
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(health.healthz(at(1000)).healthy, "nothing happened yet");
        health.queued(at(1000));
        health.queued(at(1050));
        assert!(health.livez(at(1060)).healthy);
        assert!(!health.livez(at(1061)).healthy, "the oldest change counts");
        health.updated(at(1062));
        assert!(health.healthz(at(9000)).healthy, "idle");
        health.node_eligible(false);
        assert!(!health.healthz(at(9000)).healthy);
        assert!(
            health.livez(at(9000)).healthy,
            "livez does not look at the node"
        );
        let answer = serde_json::to_value(health.healthz(at(9000))).unwrap();
        assert_eq!(
            answer,
            serde_json::json!({
                "lastUpdated": "1970-01-12T14:04:22Z",
                "currentTime": "1970-01-12T16:16:40Z",
                "nodeEligible": false,
            })
        );
    }
}
