//! Several processes that program the same device: one does, the others wait, and one of them follows when it goes.
//!
//! In: what the device says of who is the primary. Out: the election id that this process claims. Nothing else arbitrates:
//! P4Runtime lets one client of a role write, the one with the highest election id, and tells the others when it is gone.
//!
//! ```text
//!            the id is in use                  nobody is the primary
//! claims ────────────────────▶ waits, no id ────────────────────────▶ claims the highest id + 1
//!   ▲                               │  ▲                                  │
//!   └──────── primary ──────────────┘  └──── another one was faster ──────┘
//! ```
//!
//! Invariant: an id is only raised when the device says that nobody is the primary, so nobody who works is replaced.

use std::sync::Arc;

use p4runtime::client::{Client, State};
use tonic::Code;

use crate::telemetry::health::Health;

/// What to claim after a change of the session; `None`: what is claimed already.
fn claim(state: &State, own: Option<u128>) -> Option<Option<u128>> {
    match state {
        // The device refuses an id that another stream has.
        State::Disconnected { code, .. } if *code == Code::InvalidArgument && own.is_some() => {
            Some(None)
        }
        State::NoPrimary { highest } => {
            let next = highest.map_or(Some(1), |highest| highest.checked_add(1));
            next.filter(|next| own.is_none_or(|own| own < *next))
                .map(Some)
        }
        _ => None,
    }
}

/// Waits while another client is the primary, and takes its place when it goes.
pub async fn follow(client: Client, first: u128, health: Arc<Health>) {
    let mut states = client.state();
    let mut own = Some(first);
    loop {
        let state = states.borrow_and_update().clone();
        if let Some(next) = claim(&state, own)
            && client.set_election_id(next).is_ok()
        {
            tracing::info!(election_id = ?next, "another process may program the device");
            own = next;
        }
        match state {
            State::Closed => return,
            State::Primary => health.stand_by(false),
            State::Backup { .. } => health.stand_by(true),
            State::Connecting | State::NoPrimary { .. } | State::Disconnected { .. } => {}
        }
        if states.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_works_is_never_outbid() {
        let broke = |code| State::Disconnected {
            code,
            reason: String::new(),
            attempt: 1,
        };
        assert_eq!(claim(&broke(Code::InvalidArgument), Some(1)), Some(None));
        assert_eq!(claim(&broke(Code::InvalidArgument), None), None);
        assert_eq!(claim(&broke(Code::Unavailable), Some(1)), None);
        for state in [
            State::Connecting,
            State::Primary,
            State::Backup { primary: Some(7) },
        ] {
            assert_eq!(claim(&state, None), None);
        }
        let nobody = |highest| State::NoPrimary { highest };
        assert_eq!(claim(&nobody(Some(7)), None), Some(Some(8)));
        assert_eq!(claim(&nobody(Some(7)), Some(1)), Some(Some(8)));
        assert_eq!(claim(&nobody(None), None), Some(Some(1)));
        assert_eq!(claim(&nobody(Some(7)), Some(8)), None, "claimed already");
        assert_eq!(claim(&nobody(Some(u128::MAX)), None), None);
    }
}
