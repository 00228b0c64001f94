//! Where verdicts differ from kube-proxy's nftables mode, and why.
//!
//! In: nothing. Out: rules, each with its reason as it stands in docs/kube-proxy.md. The first that applies counts; one
//! that never applies is a failure of the test.

use testbench::site::Proxy;

use crate::flows::Flow;

/// A difference that has a reason.
pub struct Difference {
    /// Where it is.
    pub applies: fn(Proxy, &Flow) -> bool,
    /// The reason.
    pub why: &'static str,
}

pub const ALL: &[Difference] = &[];
