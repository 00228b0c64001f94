//! One Service, seen from one node.

mod view;

pub use view::NodeView;
