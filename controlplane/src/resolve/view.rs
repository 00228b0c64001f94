//! From where the cluster is looked at.

use std::sync::Arc;

/// One node's view, and which proxy this is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeView {
    /// The node whose endpoints are local; `None`: none are.
    pub node: Option<Arc<str>>,
    /// Serve the objects that carry this proxy's name instead of those that carry none (S01).
    pub proxy_name: Option<Arc<str>>,
}
