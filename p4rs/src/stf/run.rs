//! Carries a script out.
//!
//! In: an engine that holds the program, a script. Out: a [`Report`].
//! Invariant: a statement that fails is reported and the next one is carried out, as the harness of the simple switch
//! goes on too.
//!
//! The clock is the script's own: a packet takes a millisecond, and a packet that follows a command comes a second
//! after it, as that harness sends them.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use num_bigint::BigUint;

use super::command::{Command, EntryRef, Place, Script};
use super::entries::{self, EntryFault, Placed};
use super::ports::{Difference, Ports};
use super::replication::{ReplicationFault, Trees};
use super::state::{self, StateFault};
use crate::engine::{CounterData, Digest, Engine, IdleTimeout, Outputs, Time};

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// An entry could not be written.
    #[error(transparent)]
    Entry(#[from] EntryFault),
    /// A counter, meter, register or value set.
    #[error(transparent)]
    State(#[from] StateFault),
    /// A multicast group or clone session.
    #[error(transparent)]
    Replication(#[from] ReplicationFault),
    /// A packet that should not have left, or one that did not leave as it should.
    #[error(transparent)]
    Packet(#[from] Difference),
    /// `no_packet` does not hold.
    #[error("{0} packets left where none should")]
    Left(usize),
    /// No digest is left to check.
    #[error("there is no digest")]
    NoDigest,
    /// The digest is another receiver's.
    #[error("the digest is for receiver {0}")]
    Receiver(u32),
    /// The entry was not reported.
    #[error("entry `{0}` was not reported idle")]
    NotIdle(String),
    /// The log says something else.
    #[error("the log says {}", .0.as_ref().map_or("nothing".to_owned(), |text| format!("`{text}`")))]
    Log(Option<String>),
}

/// A problem and where the script meets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Line of the statement; none for packets that no statement speaks of.
    pub line: Option<usize>,
    /// What went wrong.
    pub problem: Problem,
}

/// What came of a script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What went wrong; empty if the test passed.
    pub findings: Vec<Finding>,
    /// Packets sent into the program.
    pub packets: usize,
    /// Values that the script asked for, in order.
    pub log: Vec<String>,
}

impl Report {
    /// Whether everything went as the script says.
    pub fn passed(&self) -> bool {
        self.findings.is_empty()
    }
}

const PACKET_TIME: Duration = Duration::from_millis(1);
const AFTER_COMMAND: Duration = Duration::from_secs(1);

/// Carries a script out on an engine in its first state.
pub fn run(engine: &Engine, script: &Script) -> Report {
    let mut runner = Runner {
        engine,
        now: Time::default(),
        pause: PACKET_TIME,
        ports: Ports::default(),
        trees: Trees::default(),
        entries: HashMap::new(),
        digests: VecDeque::new(),
        messages: VecDeque::new(),
        idle: Vec::new(),
        left: 0,
        report: Report::default(),
    };
    for statement in &script.statements {
        if let Err(problem) = runner.command(statement.line, &statement.command) {
            runner.report.findings.push(Finding {
                line: Some(statement.line),
                problem,
            });
        }
    }
    let differences = runner.ports.differences();
    let found = differences.into_iter().map(|(line, difference)| Finding {
        line,
        problem: difference.into(),
    });
    runner.report.findings.extend(found);
    runner.report
}

struct Runner<'e> {
    engine: &'e Engine,
    now: Time,
    /// Time until the next packet.
    pause: Duration,
    ports: Ports,
    trees: Trees,
    entries: HashMap<String, Placed>,
    digests: VecDeque<Digest>,
    messages: VecDeque<String>,
    idle: Vec<IdleTimeout>,
    /// Packets that left because of the last one sent.
    left: usize,
    report: Report,
}

impl Runner<'_> {
    fn command(&mut self, line: usize, command: &Command) -> Result<(), Problem> {
        match command {
            Command::Packet { port, bytes } => self.packet(*port, bytes),
            Command::Expect { port, pattern } => self.ports.expect(line, *port, pattern.clone()),
            Command::NoPacket if self.left > 0 => return Err(Problem::Left(self.left)),
            Command::NoPacket => {}
            Command::Wait(time) => self.wait(*time),
            Command::CheckDigest { .. }
            | Command::CheckIdle(_)
            | Command::CheckLog(_)
            | Command::CheckEntries { .. }
            | Command::CheckCounter { .. }
            | Command::CheckRegister { .. } => self.check(command)?,
            _ => {
                self.pause = AFTER_COMMAND;
                self.control(command)?;
            }
        }
        Ok(())
    }

    fn wait(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.now = Time(self.now.0.saturating_add(ns));
        self.idle.extend(self.engine.tick(self.now));
    }

    fn packet(&mut self, port: u32, bytes: &[u8]) {
        let pause = std::mem::replace(&mut self.pause, PACKET_TIME);
        self.wait(pause);
        self.ports.name(port);
        let mut out = Outputs::default();
        self.engine.process(self.now, port, bytes, &mut out);
        self.left = out.transmitted().len();
        for sent in out.transmitted() {
            self.ports.sent(sent.port, &sent.to_vec());
        }
        self.digests.extend(out.digests);
        self.messages.extend(out.log);
        self.report.packets += 1;
    }

    fn entry(&self, id: &str) -> Result<&Placed, EntryFault> {
        self.entries
            .get(id)
            .ok_or_else(|| EntryFault::NoSuchEntry(id.to_owned()))
    }

    /// The entry that a place names, if it names one.
    fn placed(&self, place: &Place) -> Result<Option<&Placed>, EntryFault> {
        match place {
            Place::Index(_) => Ok(None),
            Place::Entry(id) => self.entry(id).map(Some),
        }
    }

    /// Commands that change tables.
    fn control(&mut self, command: &Command) -> Result<(), Problem> {
        let engine = self.engine;
        match command {
            Command::Add {
                table,
                priority,
                keys,
                actions,
                id,
            } => {
                let placed = entries::add(engine, self.now, table, *priority, keys, actions)?;
                if let Some(id) = id {
                    self.entries.insert(id.clone(), placed);
                }
            }
            Command::SetDefault { table, action } => entries::set_default(engine, table, action)?,
            Command::RemoveAll => {
                for (table, _) in engine.program().tables.iter() {
                    engine.clear(table).map_err(EntryFault::from)?;
                }
                self.entries.clear();
            }
            Command::Remove(EntryRef::Id(id)) => {
                self.entry(id)?.remove(engine)?;
                self.entries.remove(id);
            }
            Command::Remove(EntryRef::Match {
                table,
                priority,
                keys,
            }) => entries::remove(engine, table, *priority, keys)?,
            Command::SetTimeout { id, timeout } => {
                let ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
                self.entry(id)?.set_timeout(engine, self.now, ns)?;
            }
            Command::HostPort(port) => engine.set_host_port(*port, true),
            _ => return self.state(command),
        }
        Ok(())
    }

    /// Commands that read or change counters, meters, registers and value sets.
    fn state(&mut self, command: &Command) -> Result<(), Problem> {
        let engine = self.engine;
        match command {
            Command::CounterRead { counter, place } => self.log_counter(counter, place)?,
            Command::CounterWrite {
                counter,
                place,
                packets,
                bytes,
            } => {
                let data = CounterData {
                    packets: *packets,
                    bytes: *bytes,
                };
                state::set_counter(engine, counter, place, self.placed(place)?, data)?;
            }
            Command::RegisterRead { register, index } => {
                let values = state::register(engine, register, *index)?;
                let values = state::words(&values);
                let line = format!("register {register}[{index}]: {values}");
                self.report.log.push(line);
            }
            Command::RegisterWrite {
                register,
                index,
                values,
            } => state::set_register(engine, register, *index, values)?,
            Command::RegisterReset(register) => state::reset_register(engine, register)?,
            Command::MeterGetRates { meter, index } => {
                let rates = state::meter(engine, meter, *index)?;
                self.report
                    .log
                    .push(format!("meter {meter}[{index}]: {rates}"));
            }
            Command::MeterSetRates {
                meter,
                place,
                rates,
            } => state::set_meter(engine, meter, place, self.placed(place)?, *rates)?,
            Command::MeterArraySetRates { meter, rates } => {
                state::set_meters(engine, meter, *rates)?;
            }
            Command::ValueSetAdd { set, values } => state::add_to_value_set(engine, set, values)?,
            Command::ValueSetClear(set) => state::clear_value_set(engine, set)?,
            _ => return self.replication(command),
        }
        Ok(())
    }

    /// Commands about multicast groups and clone sessions.
    fn replication(&mut self, command: &Command) -> Result<(), Problem> {
        let (engine, trees) = (self.engine, &mut self.trees);
        match command {
            Command::MirroringAdd { session, port } => {
                trees.mirror_to_port(engine, *session, *port)?;
            }
            Command::MirroringAddGroup { session, group } => {
                trees.mirror_to_group(engine, *session, *group)?;
            }
            Command::MirroringDelete(session) => trees.delete_mirror(engine, *session)?,
            Command::MirroringGet(session) => {
                let line = trees.show_mirror(*session)?;
                self.report.log.push(line);
            }
            Command::GroupCreate(group) => trees.create_group(engine, *group)?,
            Command::GroupDestroy(group) => trees.destroy_group(engine, *group)?,
            Command::NodeCreate { rid, ports } => trees.create_node(*rid, ports),
            Command::NodeUpdate { node, ports } => trees.update_node(engine, *node, ports)?,
            Command::NodeAssociate { group, node } => trees.associate(engine, *group, *node)?,
            Command::NodeDissociate { group, node } => trees.dissociate(engine, *group, *node)?,
            // The rest was carried out before it came here.
            _ => {}
        }
        Ok(())
    }

    /// Commands that look and change nothing.
    fn check(&mut self, command: &Command) -> Result<(), Problem> {
        match command {
            Command::CheckCounter {
                counter,
                place,
                wanted: None,
            } => self.log_counter(counter, place)?,
            Command::CheckCounter {
                counter,
                place,
                wanted: Some(wanted),
            } => {
                let entry = self.placed(place)?;
                let data = state::counter(self.engine, self.now, counter, place, entry)?;
                state::check_counter(counter, data, *wanted)?;
            }
            Command::CheckRegister {
                register,
                index,
                compare,
                values,
            } => {
                let is = state::register(self.engine, register, *index)?;
                let what = format!("register {register}[{index}]");
                state::check_fields(what, &is, *compare, values)?;
            }
            Command::CheckEntries {
                table,
                compare,
                count,
            } => {
                let handle = entries::find_table(self.engine, table).map_err(EntryFault::from)?;
                let is = self.engine.entry_count(handle).map_err(EntryFault::from)?;
                let what = format!("number of entries in `{table}`");
                let count = super::Number::plain((*count).into());
                state::check_fields(what, &[is.into()], *compare, &[count])?;
            }
            Command::CheckDigest { receiver, values } => {
                let digest = self.digests.pop_front().ok_or(Problem::NoDigest)?;
                if digest.receiver != *receiver {
                    return Err(Problem::Receiver(digest.receiver));
                }
                let bytes = digest.fields.iter();
                let is: Vec<BigUint> = bytes.map(|bytes| BigUint::from_bytes_be(bytes)).collect();
                let equal = super::Compare::Equal;
                state::check_fields("the digest".to_owned(), &is, equal, values)?;
            }
            Command::CheckIdle(id) => self.check_idle(id)?,
            Command::CheckLog(text) => {
                let message = self.messages.pop_front();
                if message.as_ref() != Some(text) {
                    return Err(Problem::Log(message));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn log_counter(&mut self, counter: &str, place: &Place) -> Result<(), Problem> {
        let entry = self.placed(place)?;
        let data = state::counter(self.engine, self.now, counter, place, entry)?;
        let CounterData { packets, bytes } = data;
        let line = format!("counter {counter}: {packets} packets, {bytes} bytes");
        self.report.log.push(line);
        Ok(())
    }

    fn check_idle(&mut self, id: &str) -> Result<(), Problem> {
        let entry = self.entry(id)?;
        // What the engine reports has the full width of its fields.
        let mut stored = Vec::new();
        let mut show = |view: &crate::engine::EntryView<'_>| {
            let fields = view.fields.iter().copied();
            stored = fields.map(crate::engine::OwnedField::from).collect();
        };
        let (table, priority) = (entry.table, entry.priority);
        self.engine
            .get(self.now, table, &entry.matches(), priority, &mut show)
            .map_err(EntryFault::from)?;
        let before = self.idle.len();
        self.idle
            .retain(|idle| (idle.table, idle.priority, &idle.fields) != (table, priority, &stored));
        if self.idle.len() == before {
            return Err(Problem::NotIdle(id.to_owned()));
        }
        Ok(())
    }
}
