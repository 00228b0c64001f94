//! What differs between two P4Infos, in words.
//!
//! In: what a controller pushed, and what the program yields. Out: one line per difference, nothing if entries mean the
//! same under both. Documentation, annotations, package information and order do not count.

use std::collections::BTreeMap;

use p4runtime_proto::p4::config::v1 as pb;

/// The most lines that are listed.
const MAX_LINES: usize = 12;

/// Lines that say how `pushed` differs from `program`; empty when they agree.
pub fn difference(pushed: &pb::P4Info, program: &pb::P4Info) -> Vec<String> {
    let mut lines = Vec::new();
    let (a, b) = (objects(pushed), objects(program));
    for ((kind, name), object) in &a {
        match b.get(&(*kind, name.clone())) {
            None => lines.push(format!(
                "{kind} {name} is in the pushed P4Info, but not in the program"
            )),
            Some(other) if other == object => {}
            Some(other) => lines.extend(object.differences(other, kind, name)),
        }
    }
    for (kind, name) in b.keys() {
        if !a.contains_key(&(*kind, name.clone())) {
            lines.push(format!(
                "{kind} {name} is in the program, but not in the pushed P4Info"
            ));
        }
    }
    if lines.len() > MAX_LINES {
        let more = lines.len() - MAX_LINES;
        lines.truncate(MAX_LINES);
        lines.push(format!("and {more} more"));
    }
    lines
}

/// What counts of an object: its parts by name, each with a value in words.
#[derive(Debug, PartialEq, Eq)]
struct Object {
    parts: BTreeMap<String, String>,
}

impl Object {
    fn new(id: u32) -> Self {
        Self {
            parts: BTreeMap::from([("id".to_owned(), format!("{id:#010x}"))]),
        }
    }

    fn with(mut self, part: impl Into<String>, value: impl std::fmt::Debug) -> Self {
        self.parts.insert(part.into(), format!("{value:?}"));
        self
    }

    fn differences<'a>(
        &'a self,
        other: &'a Self,
        kind: &'a str,
        name: &'a str,
    ) -> impl Iterator<Item = String> + 'a {
        let ours = self
            .parts
            .iter()
            .filter_map(move |(part, value)| match other.parts.get(part) {
                Some(theirs) if theirs == value => None,
                Some(theirs) => Some(format!(
                    "{kind} {name}: {part} is {value} as pushed, {theirs} in the program"
                )),
                None => Some(format!("{kind} {name}: {part} is not in the program")),
            });
        let missing = other
            .parts
            .keys()
            .filter(|part| !self.parts.contains_key(*part));
        ours.chain(
            missing.map(move |part| format!("{kind} {name}: {part} is not in the pushed P4Info")),
        )
    }
}

type Objects = BTreeMap<(&'static str, String), Object>;

fn id(preamble: &Option<pb::Preamble>) -> u32 {
    preamble.as_ref().map_or(0, |preamble| preamble.id)
}

fn name(preamble: &Option<pb::Preamble>) -> String {
    preamble
        .as_ref()
        .map(|preamble| preamble.name.clone())
        .unwrap_or_default()
}

fn objects(info: &pb::P4Info) -> Objects {
    let mut all = Objects::new();
    for x in &info.tables {
        all.insert(("table", name(&x.preamble)), table(x));
    }
    for x in &info.actions {
        let object = x
            .params
            .iter()
            .fold(Object::new(id(&x.preamble)), |object, param| {
                object.with(
                    format!("parameter {}", param.name),
                    (param.id, param.bitwidth, &param.type_name),
                )
            });
        all.insert(("action", name(&x.preamble)), object);
    }
    for x in &info.action_profiles {
        let mut tables = x.table_ids.clone();
        tables.sort_unstable();
        let object = Object::new(id(&x.preamble))
            .with("tables", tables)
            .with("selector", x.with_selector)
            .with("size", x.size)
            .with("largest group", x.max_group_size);
        all.insert(("action profile", name(&x.preamble)), object);
    }
    for x in &info.controller_packet_metadata {
        let object = x
            .metadata
            .iter()
            .fold(Object::new(id(&x.preamble)), |object, field| {
                object.with(format!("field {}", field.name), (field.id, field.bitwidth))
            });
        all.insert(("packet metadata", name(&x.preamble)), object);
    }
    externs(info, &mut all);
    all
}

fn table(table: &pb::Table) -> Object {
    let mut actions: Vec<_> = table
        .action_refs
        .iter()
        .map(|action| (action.id, action.scope))
        .collect();
    actions.sort_unstable();
    let mut direct = table.direct_resource_ids.clone();
    direct.sort_unstable();
    let object = Object::new(id(&table.preamble))
        .with("size", table.size)
        .with("actions and scopes", actions)
        .with("direct resources", direct)
        .with("const default action", table.const_default_action_id)
        .with("implementation", table.implementation_id)
        .with("idle timeout behavior", table.idle_timeout_behavior)
        .with("const entries", table.is_const_table);
    table.match_fields.iter().fold(object, |object, field| {
        object.with(
            format!("match field {}", field.name),
            (field.id, field.bitwidth, &field.r#match, &field.type_name),
        )
    })
}

fn externs(info: &pb::P4Info, all: &mut Objects) {
    for x in &info.counters {
        all.insert(
            ("counter", name(&x.preamble)),
            Object::new(id(&x.preamble))
                .with("size", x.size)
                .with("unit", x.spec),
        );
    }
    for x in &info.direct_counters {
        let object = Object::new(id(&x.preamble))
            .with("table", x.direct_table_id)
            .with("unit", x.spec);
        all.insert(("direct counter", name(&x.preamble)), object);
    }
    for x in &info.meters {
        all.insert(
            ("meter", name(&x.preamble)),
            Object::new(id(&x.preamble))
                .with("size", x.size)
                .with("unit", x.spec),
        );
    }
    for x in &info.direct_meters {
        let object = Object::new(id(&x.preamble))
            .with("table", x.direct_table_id)
            .with("unit", x.spec);
        all.insert(("direct meter", name(&x.preamble)), object);
    }
    for x in &info.registers {
        let object = Object::new(id(&x.preamble))
            .with("size", x.size)
            .with("type", &x.type_spec);
        all.insert(("register", name(&x.preamble)), object);
    }
    for x in &info.digests {
        all.insert(
            ("digest", name(&x.preamble)),
            Object::new(id(&x.preamble)).with("type", &x.type_spec),
        );
    }
    for x in &info.value_sets {
        let object = x.r#match.iter().fold(
            Object::new(id(&x.preamble)).with("size", x.size),
            |object, field| {
                object.with(
                    format!("match field {}", field.id),
                    (field.bitwidth, &field.r#match),
                )
            },
        );
        all.insert(("value set", name(&x.preamble)), object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> pb::P4Info {
        let preamble = |id, name: &str| {
            Some(pb::Preamble {
                id,
                name: name.into(),
                ..Default::default()
            })
        };
        let param = pb::action::Param {
            id: 1,
            name: "port".into(),
            bitwidth: 9,
            ..Default::default()
        };
        pb::P4Info {
            tables: vec![pb::Table {
                preamble: preamble(0x0200_0001, "t"),
                size: 64,
                ..Default::default()
            }],
            actions: vec![pb::Action {
                preamble: preamble(0x0100_0001, "a"),
                params: vec![param],
            }],
            ..Default::default()
        }
    }

    #[test]
    fn documentation_and_package_do_not_count() {
        let mut other = info();
        other.pkg_info = Some(pb::PkgInfo {
            arch: "v1model".into(),
            ..Default::default()
        });
        other.tables[0]
            .preamble
            .as_mut()
            .unwrap()
            .annotations
            .push("@x".into());
        assert!(difference(&info(), &other).is_empty());
    }

    #[test]
    fn each_difference_is_a_line() {
        let mut pushed = info();
        pushed.tables[0].size = 128;
        pushed.actions[0].params[0].name = "egress".into();
        pushed.counters.push(pb::Counter::default());
        let lines = difference(&pushed, &info()).join("\n");
        for expected in [
            "table t: size is 128 as pushed, 64 in the program",
            "action a: parameter egress is not in the program",
            "action a: parameter port is not in the pushed P4Info",
            "counter  is in the pushed P4Info, but not in the program",
        ] {
            assert!(lines.contains(expected), "{expected} in\n{lines}");
        }
    }
}
