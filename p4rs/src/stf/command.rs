//! What a script says, line by line.
//!
//! In: the parser fills it. Out: the runner carries it out. Invariant: names are as written, not yet looked up.

use std::time::Duration;

use super::ports::Pattern;
use super::value::{Number, Value};

/// A whole script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The statements in order.
    pub statements: Vec<Statement>,
}

/// A command and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Counted from 1.
    pub line: usize,
    /// What to do.
    pub command: Command,
}

/// One key field of an entry: `name:value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The field's name or the end of it.
    pub field: String,
    /// What it must be.
    pub value: Value,
}

/// `action(param:value, …)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// The action's name or the end of it.
    pub name: String,
    /// Action data by parameter name.
    pub args: Vec<(String, Number)>,
}

/// Which cell of an array, or which entry of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A cell.
    Index(u64),
    /// The entry that an `add` named `= ID`.
    Entry(String),
}

/// Which entry is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryRef {
    /// By the name that its `add` gave it.
    Id(String),
    /// By its match.
    Match {
        /// The table's name or the end of it.
        table: String,
        /// As in `add`.
        priority: Option<u32>,
        /// As in `add`.
        keys: Vec<Match>,
    },
}

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Compare {
    /// Whether `left` stands to `right` like this.
    pub fn holds<T: Ord>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }

    /// As written.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// One rate of a meter: `RATE:BURST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Units per second. In the text: units per microsecond, as the simple switch's command line takes it.
    pub per_second: u64,
    /// Units.
    pub burst: u64,
}

/// A statement's command. Those marked (+) are additions of this runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `add TABLE [PRIORITY] field:value… action(param:value, …) [= ID]`. The larger priority wins.
    /// (+) Several actions with `|` between them are a one-shot set for the table's action selector.
    Add {
        /// The table's name or the end of it.
        table: String,
        /// Priority, for tables that have some.
        priority: Option<u32>,
        /// Match fields.
        keys: Vec<Match>,
        /// At least one.
        actions: Vec<Action>,
        /// Name of the entry in later statements.
        id: Option<String>,
    },
    /// `setdefault TABLE action(param:value, …)`.
    SetDefault {
        /// The table's name or the end of it.
        table: String,
        /// Default from now on.
        action: Action,
    },
    /// `remove all`: every entry of every table but the program's const ones.
    RemoveAll,
    /// (+) `remove $ID` or `remove TABLE [PRIORITY] field:value…`.
    Remove(EntryRef),
    /// (+) `table_set_timeout TABLE $ID MILLISECONDS`: the entry's idle timeout.
    SetTimeout {
        /// Which entry.
        id: String,
        /// Idle time.
        timeout: Duration,
    },
    /// `packet PORT HEX…`.
    Packet {
        /// Ingress port.
        port: u32,
        /// The packet.
        bytes: Vec<u8>,
    },
    /// `expect PORT [HEX…] [$]`: one packet leaves by the port; any when no digits are given.
    Expect {
        /// Egress port.
        port: u32,
        /// What it looks like.
        pattern: Pattern,
    },
    /// `no_packet`: the last packet left by no port at all.
    NoPacket,
    /// `wait` lets one second pass, (+) `wait SECONDS` as many as said.
    Wait(Duration),
    /// `check_counter NAME(INDEX or $ID) [packets|bytes OP NUMBER]`.
    CheckCounter {
        /// Counter or direct counter.
        counter: String,
        /// Cell or entry.
        place: Place,
        /// What must hold; the value is logged if nothing must.
        wanted: Option<CounterCheck>,
    },
    /// (+) `check_register NAME(INDEX) OP NUMBER`, or several numbers for a register of structs.
    CheckRegister {
        /// Register.
        register: String,
        /// Cell.
        index: u64,
        /// How each field is compared.
        compare: Compare,
        /// One number per field.
        values: Vec<Number>,
    },
    /// (+) `check_entries TABLE OP NUMBER`: how many entries the table holds.
    CheckEntries {
        /// The table's name or the end of it.
        table: String,
        /// How the count is compared.
        compare: Compare,
        /// With what.
        count: u64,
    },
    /// (+) `check_digest RECEIVER VALUE…`: the oldest digest not checked yet.
    CheckDigest {
        /// The `receiver` argument; 0 where there is none.
        receiver: u32,
        /// One number per field.
        values: Vec<Number>,
    },
    /// (+) `check_idle $ID`: the entry was reported idle since the last such check of it.
    CheckIdle(String),
    /// (+) `check_log TEXT`: the oldest `log_msg` text not checked yet.
    CheckLog(String),
    /// `mirroring_add SESSION PORT`.
    MirroringAdd {
        /// Clone session.
        session: u32,
        /// Egress port.
        port: u32,
    },
    /// `mirroring_add_mc SESSION GROUP`.
    MirroringAddGroup {
        /// Clone session.
        session: u32,
        /// Multicast group.
        group: u32,
    },
    /// `mirroring_delete SESSION`.
    MirroringDelete(u32),
    /// `mirroring_get SESSION`.
    MirroringGet(u32),
    /// `mc_mgrp_create GROUP`.
    GroupCreate(u32),
    /// (+) `mc_mgrp_destroy GROUP`.
    GroupDestroy(u32),
    /// `mc_node_create RID PORT…`; nodes count from 0 in the order of creation.
    NodeCreate {
        /// `egress_rid` of the copies.
        rid: u32,
        /// One copy each.
        ports: Vec<u32>,
    },
    /// `mc_node_update NODE PORT…`.
    NodeUpdate {
        /// Which node.
        node: u32,
        /// One copy each.
        ports: Vec<u32>,
    },
    /// `mc_node_associate GROUP NODE`.
    NodeAssociate {
        /// Multicast group.
        group: u32,
        /// Node.
        node: u32,
    },
    /// (+) `mc_node_dissociate GROUP NODE`.
    NodeDissociate {
        /// Multicast group.
        group: u32,
        /// Node.
        node: u32,
    },
    /// `counter_read NAME INDEX`: into the log.
    CounterRead {
        /// Counter.
        counter: String,
        /// Cell or entry.
        place: Place,
    },
    /// `counter_write NAME INDEX PACKETS BYTES`.
    CounterWrite {
        /// Counter.
        counter: String,
        /// Cell or entry.
        place: Place,
        /// Packets.
        packets: u64,
        /// Bytes.
        bytes: u64,
    },
    /// `register_read NAME INDEX`: into the log.
    RegisterRead {
        /// Register.
        register: String,
        /// Cell.
        index: u64,
    },
    /// `register_write NAME INDEX VALUE`; (+) several values for a register of structs.
    RegisterWrite {
        /// Register.
        register: String,
        /// Cell.
        index: u64,
        /// One number per field.
        values: Vec<Number>,
    },
    /// `register_reset NAME`: all cells zero.
    RegisterReset(String),
    /// `meter_get_rates NAME INDEX`: into the log.
    MeterGetRates {
        /// Meter.
        meter: String,
        /// Cell.
        index: u64,
    },
    /// `meter_set_rates NAME INDEX RATE:BURST RATE:BURST`; (+) `$ID` for a direct meter.
    MeterSetRates {
        /// Meter.
        meter: String,
        /// Cell or entry.
        place: Place,
        /// Committed and peak.
        rates: (Rate, Rate),
    },
    /// `meter_array_set_rates NAME RATE:BURST RATE:BURST`.
    MeterArraySetRates {
        /// Meter.
        meter: String,
        /// Committed and peak.
        rates: (Rate, Rate),
    },
    /// (+) `pvs_add SET VALUE…`: one more member of a parser value set, one value per field.
    ValueSetAdd {
        /// Value set.
        set: String,
        /// One per field.
        values: Vec<Value>,
    },
    /// (+) `pvs_clear SET`.
    ValueSetClear(String),
    /// (+) `host_port PORT`: the port is on the host's side (PNA).
    HostPort(u32),
}

/// What a counter must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterCheck {
    /// Bytes, not packets.
    pub bytes: bool,
    /// How.
    pub compare: Compare,
    /// With what.
    pub value: u64,
}
