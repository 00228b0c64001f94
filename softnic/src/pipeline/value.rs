//! Match fields and errors, between the service's words and the engine's.
//!
//! In: canonical byte strings of the service, full-width ones of the engine. Out: the other's. Nothing is copied.

use p4rs::engine::{self, ExternError, FieldMatch, TableError};
use p4runtime::server::switch::{CounterData, Match, SwitchError, Watch};
use p4runtime::value::canonical;
use p4runtime_proto::p4::v1 as pb;

/// A match field for the engine.
pub(super) fn to_engine<'a>(field: &Match<'a>) -> FieldMatch<'a> {
    match *field {
        Match::Exact(value) => FieldMatch::Exact(value),
        Match::Lpm { value, prefix } => FieldMatch::Lpm {
            value,
            prefix_len: prefix,
        },
        Match::Ternary { value, mask } => FieldMatch::Ternary { value, mask },
        Match::Range { low, high } => FieldMatch::Range { low, high },
        Match::Optional(value) => FieldMatch::Optional(value),
        Match::Any => FieldMatch::DontCare,
    }
}

/// A match field for the service. What matches everything is left out, however the program wrote it.
pub(super) fn from_engine(field: FieldMatch<'_>) -> Match<'_> {
    match field {
        FieldMatch::DontCare | FieldMatch::Lpm { prefix_len: 0, .. } => Match::Any,
        FieldMatch::Exact(value) => Match::Exact(canonical(value)),
        FieldMatch::Lpm { value, prefix_len } => Match::Lpm {
            value: canonical(value),
            prefix: prefix_len,
        },
        FieldMatch::Ternary { mask, .. } if mask.iter().all(|&byte| byte == 0) => Match::Any,
        FieldMatch::Ternary { value, mask } => Match::Ternary {
            value: canonical(value),
            mask: canonical(mask),
        },
        FieldMatch::Range { low, high } => Match::Range {
            low: canonical(low),
            high: canonical(high),
        },
        FieldMatch::Optional(value) => Match::Optional(canonical(value)),
    }
}

pub(super) fn counter_to_engine(data: CounterData) -> engine::CounterData {
    engine::CounterData {
        packets: data.packets,
        bytes: data.bytes,
    }
}

pub(super) fn counter_from_engine(data: engine::CounterData) -> CounterData {
    CounterData {
        packets: data.packets,
        bytes: data.bytes,
    }
}

pub(super) fn meter_to_engine(
    config: &pb::MeterConfig,
) -> Result<engine::MeterConfig, SwitchError> {
    let rate = |value: i64| {
        u64::try_from(value)
            .map_err(|_| SwitchError::Invalid("a meter's rate or burst is negative"))
    };
    if config.eburst != 0 {
        return Err(SwitchError::Unsupported("an excess burst of a meter"));
    }
    Ok(engine::MeterConfig {
        cir: rate(config.cir)?,
        cburst: rate(config.cburst)?,
        pir: rate(config.pir)?,
        pburst: rate(config.pburst)?,
    })
}

pub(super) fn meter_from_engine(config: engine::MeterConfig) -> pb::MeterConfig {
    let rate = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    pb::MeterConfig {
        cir: rate(config.cir),
        cburst: rate(config.cburst),
        pir: rate(config.pir),
        pburst: rate(config.pburst),
        ..Default::default()
    }
}

const BY_BYTES: u8 = 0;
const BY_NUMBER: u8 = 1;

/// A watch port in the engine's keeping: one byte for the form, then the value.
pub(super) fn watch_to_engine(watch: Watch<'_>) -> Option<Vec<u8>> {
    match watch {
        Watch::None => None,
        Watch::Port(port) => Some([&[BY_BYTES][..], port].concat()),
        Watch::Number(port) => Some([&[BY_NUMBER][..], &port.to_be_bytes()].concat()),
    }
}

/// A watch port as the controller wrote it.
pub(super) fn watch_from_engine(watch: Option<&[u8]>) -> Watch<'_> {
    match watch {
        Some([BY_NUMBER, rest @ ..]) => rest.try_into().map_or(Watch::None, |bytes| {
            Watch::Number(i32::from_be_bytes(bytes))
        }),
        Some([BY_BYTES, rest @ ..]) => Watch::Port(rest),
        _ => Watch::None,
    }
}

/// What the specification calls a table's refusal.
pub(super) fn table_error(error: TableError) -> SwitchError {
    match error {
        TableError::Exists => SwitchError::AlreadyExists("the entry"),
        TableError::NotFound => SwitchError::NotFound("the entry"),
        TableError::NoSuchTable => SwitchError::NotFound("the table"),
        TableError::NoSuchProfile => SwitchError::NotFound("the action profile"),
        TableError::NoSuchMember(_) => SwitchError::NotFound("the member"),
        TableError::NoSuchGroup(_) => SwitchError::NotFound("the group"),
        TableError::Full { .. } => SwitchError::Full("another entry"),
        TableError::InUse => SwitchError::InUse("the member or group"),
        TableError::ReadOnly => SwitchError::Const("the entry"),
        TableError::ConstDefault => SwitchError::Const("the default action"),
        TableError::GroupTooBig { .. } => {
            SwitchError::Full("so many members or weights in the group")
        }
        TableError::FieldCount { .. } => {
            SwitchError::Invalid("the key has another number of fields")
        }
        TableError::FieldKind { .. } => {
            SwitchError::Invalid("a match field has another match kind")
        }
        TableError::FieldTooWide { .. } => {
            SwitchError::Invalid("a match field is wider than in the program")
        }
        TableError::FieldMalformed { .. } => SwitchError::Invalid("a match field is malformed"),
        TableError::Priority { .. } => SwitchError::Invalid("the priority does not suit the table"),
        TableError::NoSuchAction { .. } => SwitchError::Invalid("the table has no such action"),
        TableError::ActionScope { .. } => SwitchError::Const("the action's place"),
        TableError::ParamCount { .. } => {
            SwitchError::Invalid("the action has another number of parameters")
        }
        TableError::ParamTooWide { .. } => {
            SwitchError::Invalid("an argument is wider than in the program")
        }
        TableError::Keyless => SwitchError::Invalid("the table has no key, only a default action"),
        TableError::IdleTimeout => SwitchError::Invalid("the table does not support idle timeouts"),
        TableError::NoDirectResource => {
            SwitchError::Invalid("the table has no such direct resource")
        }
        TableError::ActionForm => {
            SwitchError::Invalid("this form of action does not suit the table's implementation")
        }
        TableError::DuplicateMember(_) => SwitchError::Invalid("a member is in the group twice"),
        TableError::ZeroWeight => SwitchError::Invalid("a weight must be at least 1"),
        TableError::MixedForms => {
            SwitchError::Invalid("one-shot sets and members or groups cannot be mixed")
        }
    }
}

/// What the specification calls an extern's refusal.
pub(super) fn extern_error(error: ExternError) -> SwitchError {
    match error {
        ExternError::NoSuchObject => SwitchError::NotFound("the object"),
        ExternError::OutOfRange { index, size } => SwitchError::OutOfRange { index, size },
        ExternError::TooWide { .. } => SwitchError::Invalid("the value is wider than the cell"),
        ExternError::BadId(_) => SwitchError::Invalid("the id cannot be used"),
        ExternError::Exists => SwitchError::AlreadyExists("the group, session or member"),
        ExternError::NotFound => SwitchError::NotFound("the group or session"),
        ExternError::Full(_) => SwitchError::Full("so many members of the value set"),
        ExternError::BadMember(_) => SwitchError::Invalid("a member does not fit the value set"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watch_ports_keep_the_form_in_which_they_were_written() {
        for watch in [Watch::None, Watch::Port(&[1, 2]), Watch::Number(-7)] {
            let kept = watch_to_engine(watch);
            assert_eq!(watch_from_engine(kept.as_deref()), watch);
        }
    }

    #[test]
    fn what_matches_everything_is_left_out() {
        assert_eq!(
            from_engine(FieldMatch::Lpm {
                value: &[0, 0],
                prefix_len: 0
            }),
            Match::Any
        );
        assert_eq!(
            from_engine(FieldMatch::Ternary {
                value: &[0],
                mask: &[0]
            }),
            Match::Any
        );
        assert_eq!(
            from_engine(FieldMatch::Exact(&[0, 0, 5])),
            Match::Exact(&[5])
        );
    }
}
