//! Table `vip`: addresses of Services, for packets that no frontend serves (S22).

use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Requirement, Schema};

use super::entry::{ActionLayout, KeyLayout};
use super::{Address, Interface, Table};

/// An address of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Virtual network.
    pub vpc: u32,
    /// The address.
    pub address: Address,
}

/// What happens to packets that no frontend serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Refused aloud.
    Reject,
    /// Dropped silently.
    Drop,
    /// The NIC's own address, such as one that stands for clients: what is no answer goes on.
    Own,
}

/// The table in one device.
#[derive(Debug, Clone)]
pub struct Vip {
    key: KeyLayout<3>,
    reject: ActionLayout<0>,
    drop: ActionLayout<0>,
    own: Option<ActionLayout<0>>,
}

impl Table for Vip {
    type Key = Key;
    type Action = Action;
    const NAME: &'static str = "vip";

    fn requirements(interface: Interface) -> Vec<Requirement> {
        let table = Requirement::table(Self::NAME)
            .field("vpc", MatchKind::Exact, 32)
            .field("dst_hi", MatchKind::Exact, 64)
            .field("dst_lo", MatchKind::Exact, 64)
            .uses("reject_unserved")
            .uses("drop_unserved");
        let (reject, drop) = ("reject_unserved", "drop_unserved");
        let actions = [reject, drop].map(|action| Requirement::action(action, &[]));
        match interface {
            Interface::Basic => [vec![table], actions.to_vec()].concat(),
            Interface::Full => {
                let own = Requirement::action("own", &[]);
                [vec![table.uses("own")], actions.to_vec(), vec![own]].concat()
            }
        }
    }

    fn resolve(schema: &Schema) -> Option<Self> {
        Some(Self {
            key: KeyLayout::resolve(schema, Self::NAME, ["vpc", "dst_hi", "dst_lo"])?,
            reject: ActionLayout::resolve(schema, Self::NAME, "reject_unserved", [])?,
            drop: ActionLayout::resolve(schema, Self::NAME, "drop_unserved", [])?,
            own: ActionLayout::resolve(schema, Self::NAME, "own", []),
        })
    }

    fn id(&self) -> u32 {
        self.key.table()
    }

    fn key(&self, key: &Key) -> proto::TableEntry {
        self.key
            .exact([key.vpc.into(), key.address.hi, key.address.lo])
    }

    fn action(&self, action: &Action) -> proto::TableAction {
        match action {
            Action::Reject => self.reject.call([]),
            Action::Drop => self.drop.call([]),
            // Nothing is owned where the program cannot answer.
            Action::Own => self.own.as_ref().unwrap_or(&self.drop).call([]),
        }
    }

    fn decode(&self, entry: &proto::TableEntry) -> Option<(Key, Action)> {
        let [vpc, hi, lo] = self.key.read_exact(entry)?;
        let known = [
            (Some(&self.reject), Action::Reject),
            (Some(&self.drop), Action::Drop),
            (self.own.as_ref(), Action::Own),
        ];
        let is = |layout: Option<&ActionLayout<0>>| layout.and_then(|l| l.read(entry)).is_some();
        let (_, action) = known.into_iter().find(|(layout, _)| is(*layout))?;
        Some((
            Key {
                vpc: vpc as u32,
                address: Address { hi, lo },
            },
            action,
        ))
    }
}
