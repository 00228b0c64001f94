//! The architecture descriptions that come with this crate, written from the P4-16 and PNA specifications and the
//! interface of the simple switch.
//!
//! In: the name in an `#include`. Out: the file's text.

/// The file of a name that `#include <name>` finds if no include directory has it.
pub fn text(name: &str) -> Option<&'static str> {
    FILES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| *text)
}

/// One flavour of PNA under the two names that programs use.
const PNA: &str = include_str!("../p4include/pna.p4");

/// All files by name.
pub const FILES: &[(&str, &str)] = &[
    ("core.p4", include_str!("../p4include/core.p4")),
    ("v1model.p4", include_str!("../p4include/v1model.p4")),
    ("pna.p4", PNA),
    ("dpdk/pna.p4", PNA),
];
