//! Counters, meters, registers and value sets of scripts.
//!
//! In: names and numbers as written. Out: values read, cells written.
//! Invariant: a direct object is reached by an entry of its own table only.

use num_bigint::BigUint;

use super::command::{Compare, CounterCheck, Place, Rate};
use super::entries::Placed;
use super::names::{NameFault, find};
use super::value::{Number, Value, ValueFault};
use crate::engine::{
    CounterData, Engine, ExternError, MatchKind, MeterConfig, OwnedField, TableError, Time,
};
use crate::ir::{ExternInstance, Handle, PropertyValue, ValueSet};

/// Why state could not be read or written, or is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateFault {
    /// A name means nothing.
    #[error(transparent)]
    Name(#[from] NameFault),
    /// A value is not what it must be.
    #[error(transparent)]
    Value(#[from] ValueFault),
    /// The engine refused it.
    #[error(transparent)]
    Refused(#[from] ExternError),
    /// The engine refused it.
    #[error(transparent)]
    Entry(#[from] TableError),
    /// A direct object is told by an entry.
    #[error("`{0}` belongs to a table: name an entry of it")]
    Direct(String),
    /// An object of its own is told by an index.
    #[error("`{0}` has cells: name one by its index")]
    Indirect(String),
    /// Not as many values as the cell or member has fields.
    #[error("{got} values for {fields} fields")]
    Fields {
        /// Values given.
        got: usize,
        /// Fields.
        fields: usize,
    },
    /// An array too large to be filled cell by cell.
    #[error("{0} cells are too many to set at once, {MOST_METERS} are not")]
    Large(u64),
    /// What was checked does not hold.
    #[error("{what} is {is}, expected {compare} {wanted}", compare = .compare.sign())]
    Check {
        /// What was read.
        what: String,
        /// Its value.
        is: String,
        /// How it should compare.
        compare: Compare,
        /// With what.
        wanted: String,
    },
}

const COUNTERS: [&str; 4] = ["counter", "direct_counter", "Counter", "DirectCounter"];
const METERS: [&str; 4] = ["meter", "direct_meter", "Meter", "DirectMeter"];
/// Cells that one statement sets; a cell that was set takes memory.
const MOST_METERS: u64 = 1 << 20;
const REGISTERS: [&str; 2] = ["register", "Register"];

fn object(
    engine: &Engine,
    kind: &'static str,
    kinds: &[&str],
    name: &str,
) -> Result<Handle<ExternInstance>, NameFault> {
    let all = engine.program().externs.iter();
    let all = all.filter(|(_, instance)| kinds.contains(&instance.kind.as_str()));
    find(
        kind,
        name,
        all.map(|(handle, instance)| (handle, instance.name.control_plane.as_str())),
    )
}

fn is_direct(engine: &Engine, instance: Handle<ExternInstance>) -> bool {
    engine.program().externs[instance]
        .kind
        .to_ascii_lowercase()
        .starts_with("direct")
}

/// Where an object's value is.
enum Site<'p> {
    Cell(u64),
    Entry(&'p Placed),
}

fn site<'p>(
    engine: &Engine,
    name: &str,
    instance: Handle<ExternInstance>,
    place: &Place,
    entry: Option<&'p Placed>,
) -> Result<Site<'p>, StateFault> {
    match (place, entry) {
        (Place::Index(index), _) if !is_direct(engine, instance) => Ok(Site::Cell(*index)),
        (Place::Index(_), _) => Err(StateFault::Direct(name.to_owned())),
        (Place::Entry(_), Some(entry)) => {
            let table = &engine.program().tables[entry.table];
            let attached = table.properties.iter().any(
                |property| matches!(property.value, PropertyValue::Extern(of) if of == instance),
            );
            if attached {
                Ok(Site::Entry(entry))
            } else if is_direct(engine, instance) {
                Err(StateFault::Direct(name.to_owned()))
            } else {
                Err(StateFault::Indirect(name.to_owned()))
            }
        }
        (Place::Entry(_), None) => Err(StateFault::Indirect(name.to_owned())),
    }
}

/// A counter's value.
pub(super) fn counter(
    engine: &Engine,
    now: Time,
    name: &str,
    place: &Place,
    entry: Option<&Placed>,
) -> Result<CounterData, StateFault> {
    let instance = object(engine, "counter", &COUNTERS, name)?;
    match site(engine, name, instance, place, entry)? {
        Site::Cell(index) => Ok(engine.counter(instance, index)?),
        Site::Entry(entry) => {
            let mut data = None;
            let mut show = |view: &crate::engine::EntryView<'_>| data = view.counter;
            engine.get(
                now,
                entry.table,
                &entry.matches(),
                entry.priority,
                &mut show,
            )?;
            Ok(data.ok_or(TableError::NoDirectResource)?)
        }
    }
}

/// Whether a counter is as wanted.
pub(super) fn check_counter(
    name: &str,
    data: CounterData,
    wanted: CounterCheck,
) -> Result<(), StateFault> {
    let (is, unit) = if wanted.bytes {
        (data.bytes, "bytes")
    } else {
        (data.packets, "packets")
    };
    if wanted.compare.holds(&is, &wanted.value) {
        return Ok(());
    }
    Err(StateFault::Check {
        what: format!("counter `{name}` in {unit}"),
        is: is.to_string(),
        compare: wanted.compare,
        wanted: wanted.value.to_string(),
    })
}

/// Sets a counter.
pub(super) fn set_counter(
    engine: &Engine,
    name: &str,
    place: &Place,
    entry: Option<&Placed>,
    data: CounterData,
) -> Result<(), StateFault> {
    let instance = object(engine, "counter", &COUNTERS, name)?;
    match site(engine, name, instance, place, entry)? {
        Site::Cell(index) => Ok(engine.set_counter(instance, index, data)?),
        Site::Entry(entry) => {
            Ok(engine.set_entry_counter(entry.table, &entry.matches(), entry.priority, data)?)
        }
    }
}

/// A register's cell, one number per field.
pub(super) fn register(
    engine: &Engine,
    name: &str,
    index: u64,
) -> Result<Vec<BigUint>, StateFault> {
    let instance = object(engine, "register", &REGISTERS, name)?;
    let fields = engine.register(instance, index)?;
    Ok(fields
        .iter()
        .map(|bytes| BigUint::from_bytes_be(bytes))
        .collect())
}

/// Numbers in words.
pub(super) fn words(values: &[BigUint]) -> String {
    let words: Vec<String> = values.iter().map(BigUint::to_string).collect();
    words.join(" ")
}

/// Whether values read are as wanted, field by field.
pub(super) fn check_fields(
    what: String,
    is: &[BigUint],
    compare: Compare,
    wanted: &[Number],
) -> Result<(), StateFault> {
    let wanted: Vec<BigUint> = wanted
        .iter()
        .map(|number| number.exact().cloned())
        .collect::<Result<_, _>>()?;
    if wanted.len() != is.len() {
        return Err(StateFault::Fields {
            got: wanted.len(),
            fields: is.len(),
        });
    }
    if is
        .iter()
        .zip(&wanted)
        .all(|(is, wanted)| compare.holds(is, wanted))
    {
        return Ok(());
    }
    Err(StateFault::Check {
        what,
        is: words(is),
        compare,
        wanted: words(&wanted),
    })
}

/// Sets a register's cell.
pub(super) fn set_register(
    engine: &Engine,
    name: &str,
    index: u64,
    values: &[Number],
) -> Result<(), StateFault> {
    let instance = object(engine, "register", &REGISTERS, name)?;
    let fields = engine.register(instance, index)?.len();
    if fields != values.len() {
        return Err(StateFault::Fields {
            got: values.len(),
            fields,
        });
    }
    let bytes: Vec<Vec<u8>> = values
        .iter()
        .map(|value| value.exact().map(BigUint::to_bytes_be))
        .collect::<Result<_, _>>()?;
    let bytes: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    Ok(engine.set_register(instance, index, &bytes)?)
}

/// Sets all cells of a register to their initial value.
pub(super) fn reset_register(engine: &Engine, name: &str) -> Result<(), StateFault> {
    let instance = object(engine, "register", &REGISTERS, name)?;
    Ok(engine.reset_register(instance)?)
}

/// The smaller rate is the committed one, as the simple switch sorts them.
fn config((one, other): (Rate, Rate)) -> MeterConfig {
    let (committed, peak) = if one.per_second <= other.per_second {
        (one, other)
    } else {
        (other, one)
    };
    MeterConfig {
        cir: committed.per_second,
        cburst: committed.burst,
        pir: peak.per_second,
        pburst: peak.burst,
    }
}

/// A meter's rates in words.
pub(super) fn meter(engine: &Engine, name: &str, index: u64) -> Result<String, StateFault> {
    let instance = object(engine, "meter", &METERS, name)?;
    if is_direct(engine, instance) {
        return Err(StateFault::Direct(name.to_owned()));
    }
    let config = engine.meter(instance, index)?;
    Ok(config.map_or("no rates".to_owned(), |config| {
        format!(
            "{} per second, burst {}; {} per second, burst {}",
            config.cir, config.cburst, config.pir, config.pburst
        )
    }))
}

/// Sets a meter's rates.
pub(super) fn set_meter(
    engine: &Engine,
    name: &str,
    place: &Place,
    entry: Option<&Placed>,
    rates: (Rate, Rate),
) -> Result<(), StateFault> {
    let instance = object(engine, "meter", &METERS, name)?;
    let config = Some(config(rates));
    match site(engine, name, instance, place, entry)? {
        Site::Cell(index) => Ok(engine.set_meter(instance, index, config)?),
        Site::Entry(entry) => {
            let matches = entry.matches();
            Ok(engine.set_entry_meter(entry.table, &matches, entry.priority, config)?)
        }
    }
}

/// Sets the rates of all cells of a meter.
pub(super) fn set_meters(
    engine: &Engine,
    name: &str,
    rates: (Rate, Rate),
) -> Result<(), StateFault> {
    let instance = object(engine, "meter", &METERS, name)?;
    let cells = engine.array_size(instance)?;
    if cells > MOST_METERS {
        return Err(StateFault::Large(cells));
    }
    for index in 0..cells {
        engine.set_meter(instance, index, Some(config(rates)))?;
    }
    Ok(())
}

/// Adds a member to a value set.
pub(super) fn add_to_value_set(
    engine: &Engine,
    name: &str,
    values: &[Value],
) -> Result<(), StateFault> {
    let set = value_set(engine, name)?;
    let widths = engine.value_set_widths(set)?;
    if widths.len() != values.len() {
        return Err(StateFault::Fields {
            got: values.len(),
            fields: widths.len(),
        });
    }
    let member: Vec<OwnedField> = values
        .iter()
        .zip(&widths)
        .map(|(value, &width)| {
            let kind = match value {
                Value::Number(number) if number.exact().is_ok() => MatchKind::Exact,
                Value::Number(_) | Value::Mask(..) => MatchKind::Ternary,
                Value::Prefix(..) => MatchKind::Lpm,
                Value::Range(..) => MatchKind::Range,
            };
            value.field(kind, width)
        })
        .collect::<Result<_, _>>()?;
    let mut members = engine.value_set(set)?;
    members.push(member);
    Ok(engine.set_value_set(set, &members)?)
}

/// Takes all members out of a value set.
pub(super) fn clear_value_set(engine: &Engine, name: &str) -> Result<(), StateFault> {
    Ok(engine.set_value_set(value_set(engine, name)?, &[])?)
}

fn value_set(engine: &Engine, name: &str) -> Result<Handle<ValueSet>, NameFault> {
    let sets = engine.program().value_sets.iter();
    find(
        "value set",
        name,
        sets.map(|(handle, set)| (handle, set.name.control_plane.as_str())),
    )
}
