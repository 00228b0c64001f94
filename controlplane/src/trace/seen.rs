//! One table's answer, as the twin gave it.

use p4rs::engine::KeyValue;
use p4runtime::value;

use super::Step;
use crate::config::Mac;
use crate::tables::Address;
use crate::tables::route::Prefix;

/// A table was applied.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Table.
    pub table: String,
    /// What was looked up.
    pub keys: Vec<KeyValue>,
    /// Whether an entry matched.
    pub hit: bool,
    /// What ran.
    pub action: String,
    /// With which data.
    pub data: Vec<KeyValue>,
    /// Whose entry.
    pub owner: String,
    /// The range that the entry covers, where entries do.
    pub range: Option<Prefix>,
}

impl Seen {
    /// A number of the key.
    pub(super) fn key(&self, name: &str) -> u128 {
        number(&self.keys, name)
    }

    /// A number of the action's data.
    pub(super) fn datum(&self, name: &str) -> u128 {
        number(&self.data, name)
    }

    /// An address of the key.
    pub(super) fn key_address(&self, name: &str) -> Address {
        address(&self.keys, name)
    }

    /// An address of the action's data.
    pub(super) fn datum_address(&self, name: &str) -> Address {
        address(&self.data, name)
    }

    /// The range as people write it.
    pub(super) fn range(&self) -> String {
        self.range
            .map(|range| range.to_string())
            .unwrap_or_default()
    }

    /// The same in words.
    pub(super) fn step(&self) -> Step {
        Step {
            table: self.table.clone(),
            key: words(&self.keys),
            hit: self.hit,
            owner: self.owner.clone(),
            action: format!("{}({})", self.action, words(&self.data)),
        }
    }
}

fn number(values: &[KeyValue], name: &str) -> u128 {
    let found = values.iter().find(|value| value.name == name);
    found.map_or(0, |found| value::to_u128(&found.value).unwrap_or_default())
}

fn address(values: &[KeyValue], name: &str) -> Address {
    Address {
        hi: number(values, &format!("{name}_hi")) as u64,
        lo: number(values, &format!("{name}_lo")) as u64,
    }
}

/// Names and values; the two halves of an address as one.
fn words(values: &[KeyValue]) -> String {
    let plain = |value: &KeyValue| value::to_u128(&value.value).unwrap_or_default();
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(this) = values.get(at) {
        at += 1;
        let halves = this.name.strip_suffix("_hi").zip(values.get(at));
        match halves {
            Some((name, lo)) if lo.name.strip_suffix("_lo") == Some(name) => {
                words.push(format!("{name}={}", address(values, name)));
                at += 1;
            }
            _ if this.width == 48 => words.push(format!("{}={}", this.name, mac(plain(this)))),
            _ => words.push(format!("{}={}", this.name, plain(this))),
        }
    }
    words.join(" ")
}

/// A MAC address.
pub(super) fn mac(number: u128) -> Mac {
    let [.., a, b, c, d, e, f] = number.to_be_bytes();
    Mac([a, b, c, d, e, f])
}
