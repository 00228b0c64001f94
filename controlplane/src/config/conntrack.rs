//! How long connections may be idle, by where they stand.
//!
//! In: times under the names of Linux' connection tracking. Out: [`Timeouts`] for devices whose connections the control
//! plane sets up, and expiry profiles for a learning NIC that is embedded. Invariant: both are the same times.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Period, Problem};
use crate::slowpath::Timeouts;

/// What devices keep apart. The defaults are Linux'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConntrackConfig {
    /// Expiry profile 0: TCP after a reset (CLOSE).
    pub tcp_close: Period,
    /// Expiry profile 1: UDP without an answer; TCP in LAST_ACK.
    pub udp: Period,
    /// Expiry profile 2: TCP in SYN_RECV.
    pub tcp_syn_recv: Period,
    /// Expiry profile 3: UDP with answers; TCP in SYN_SENT, FIN_WAIT and TIME_WAIT.
    pub udp_stream: Period,
    /// Expiry profile 4: TCP that was seen in its middle and from one side only; SCTP.
    pub tcp_unacknowledged: Period,
    /// Expiry profile 5: TCP in ESTABLISHED.
    pub tcp_established: Period,
    /// Expiry profile 7: TCP in CLOSE_WAIT.
    pub tcp_close_wait: Period,
}

impl Default for ConntrackConfig {
    fn default() -> Self {
        let usual = Timeouts::default();
        Self {
            tcp_close: Period(usual.close),
            udp: Period(usual.short),
            tcp_syn_recv: Period(usual.syn_recv),
            udp_stream: Period(usual.usual),
            tcp_unacknowledged: Period(usual.picked_up),
            tcp_established: Period(usual.established),
            tcp_close_wait: Period(usual.close_wait),
        }
    }
}

impl ConntrackConfig {
    /// For the slow path.
    pub fn timeouts(&self) -> Timeouts {
        Timeouts {
            close: self.tcp_close.0,
            short: self.udp.0,
            syn_recv: self.tcp_syn_recv.0,
            usual: self.udp_stream.0,
            picked_up: self.tcp_unacknowledged.0,
            established: self.tcp_established.0,
            close_wait: self.tcp_close_wait.0,
        }
    }

    /// Puts the times in place of a learning NIC's profiles; 6 is for clients that keep their endpoint.
    pub fn profiles(&self, profiles: &mut Vec<u64>) {
        let own = [
            (0, self.tcp_close),
            (1, self.udp),
            (2, self.tcp_syn_recv),
            (3, self.udp_stream),
            (4, self.tcp_unacknowledged),
            (5, self.tcp_established),
            (7, self.tcp_close_wait),
        ];
        for (profile, period) in own {
            if profile >= profiles.len() {
                profiles.resize(profile + 1, 0);
            }
            profiles[profile] = u64::try_from(period.0.as_nanos()).unwrap_or(u64::MAX);
        }
    }

    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        let fields = [
            ("tcp_close", self.tcp_close),
            ("udp", self.udp),
            ("tcp_syn_recv", self.tcp_syn_recv),
            ("udp_stream", self.udp_stream),
            ("tcp_unacknowledged", self.tcp_unacknowledged),
            ("tcp_established", self.tcp_established),
            ("tcp_close_wait", self.tcp_close_wait),
        ];
        for (name, period) in fields {
            if period.0 < Duration::from_secs(1) {
                problems.push(Problem {
                    field: format!("conntrack.{name}"),
                    what: format!("{period} is shorter than devices can tell"),
                    advice: "give 1s or more",
                });
            }
        }
    }
}
