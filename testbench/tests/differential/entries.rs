//! Random writes for any program: entries of every match kind, default actions, members and groups, one-shot sets, multicast
//! groups and clone sessions.
//!
//! In: a schema. Out: updates in an order in which nothing is named before it is there. Values are in their shortest form and
//! parts that match anything are left out, as P4Runtime wants. Priorities within a table are all different: which of two
//! entries of one priority wins is nobody's promise.

use std::collections::BTreeSet;

use p4runtime::proto::p4::v1 as pb;
use p4runtime::schema::{
    Action, ActionProfile, MatchField, MatchKind, Schema, Scope, Table, Width,
};
use p4runtime::value::canonical;
use pb::action_profile_group::Member;
use pb::field_match::{Exact, FieldMatchType, Lpm, Optional, Range, Ternary};
use pb::table_action::Type as Call;
use testbench::random::Random;

use crate::values::{Values, and, prefix};

/// Ports that packets come in and groups send to.
pub const PORTS: u32 = 8;

/// Groups and sessions that programs are likely to name.
const GROUPS: [u32; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
const SESSIONS: [u32; 11] = [1, 2, 3, 4, 5, 6, 7, 8, 100, 250, 500];

/// What is drawn from.
pub struct Writer<'a> {
    pub random: &'a mut Random,
    pub schema: &'a Schema,
    pub values: &'a mut Values,
    /// Tables that are written to.
    pub writable: &'a BTreeSet<u32>,
}

impl Writer<'_> {
    /// Everything that is written before packets come.
    pub fn updates(&mut self) -> Vec<pb::Update> {
        let mut updates = self.replication();
        // For each profile: whether entries name groups (else one-shot sets), the members, the groups.
        for profile in self.schema.action_profiles.iter() {
            let members = self.members(profile, &mut updates);
            let one_shot = profile.with_selector && self.random.once_in(2);
            let groups = if profile.with_selector && !one_shot {
                self.groups(profile, &members, &mut updates)
            } else {
                Vec::new()
            };
            for id in &profile.table_ids {
                let Some(table) = self.schema.tables.get(*id) else {
                    continue;
                };
                for at in 0..self.random.below(6) {
                    let call = if one_shot {
                        self.one_shot(table)
                    } else if !groups.is_empty() && !self.random.once_in(3) {
                        self.random
                            .of(&groups)
                            .copied()
                            .map(Call::ActionProfileGroupId)
                    } else {
                        self.random
                            .of(&members)
                            .copied()
                            .map(Call::ActionProfileMemberId)
                    };
                    updates.extend(self.entry(table, at, call));
                }
            }
        }
        for table in self.schema.tables.iter() {
            if table.action_profile.is_none() {
                for at in 0..1 + self.random.below(8) {
                    let call = self.call(table).map(Call::Action);
                    updates.extend(self.entry(table, at, call));
                }
                updates.extend(self.default(table));
            }
        }
        updates
    }

    fn replication(&mut self) -> Vec<pb::Update> {
        use pb::packet_replication_engine_entry::Type;
        let mut updates = Vec::new();
        for id in GROUPS {
            let group = pb::MulticastGroupEntry {
                multicast_group_id: id,
                replicas: self.replicas(3),
                ..Default::default()
            };
            updates.push(Type::MulticastGroupEntry(group));
        }
        for id in SESSIONS {
            let session = pb::CloneSessionEntry {
                session_id: id,
                replicas: self.replicas(1),
                ..Default::default()
            };
            updates.push(Type::CloneSessionEntry(session));
        }
        let entry = |r#type| {
            pb::entity::Entity::PacketReplicationEngineEntry(pb::PacketReplicationEngineEntry {
                r#type: Some(r#type),
            })
        };
        updates.into_iter().map(|of| insert(entry(of))).collect()
    }

    /// Copies to different ports.
    fn replicas(&mut self, most: usize) -> Vec<pb::Replica> {
        let first = self.random.below(PORTS as usize) as u32;
        (0..1 + self.random.below(most) as u32)
            .map(|at| pb::Replica {
                instance: 1 + at,
                port_kind: Some(pb::replica::PortKind::EgressPort((first + at) % PORTS)),
                ..Default::default()
            })
            .collect()
    }

    fn members(&mut self, profile: &ActionProfile, updates: &mut Vec<pb::Update>) -> Vec<u32> {
        let Some(table) = profile
            .table_ids
            .first()
            .and_then(|id| self.schema.tables.get(*id))
        else {
            return Vec::new();
        };
        let mut ids = Vec::new();
        for id in 1..=4 {
            let Some(action) = self.call(table) else {
                break;
            };
            let member = pb::ActionProfileMember {
                action_profile_id: profile.id,
                member_id: id,
                action: Some(action),
            };
            updates.push(insert(pb::entity::Entity::ActionProfileMember(member)));
            ids.push(id);
        }
        ids
    }

    fn groups(
        &mut self,
        profile: &ActionProfile,
        members: &[u32],
        updates: &mut Vec<pb::Update>,
    ) -> Vec<u32> {
        let mut ids = Vec::new();
        for id in 1..=2 {
            let chosen = members.iter().filter(|_| !self.random.once_in(3));
            let group = pb::ActionProfileGroup {
                action_profile_id: profile.id,
                group_id: id,
                members: chosen
                    .map(|&member_id| Member {
                        member_id,
                        weight: 1,
                        ..Default::default()
                    })
                    .collect(),
                max_size: 0,
            };
            // What an empty group does is the target's own.
            if !group.members.is_empty() {
                updates.push(insert(pb::entity::Entity::ActionProfileGroup(group)));
                ids.push(id);
            }
        }
        ids
    }

    fn one_shot(&mut self, table: &Table) -> Option<Call> {
        let actions = (0..1 + self.random.below(3))
            .map(|_| {
                Some(pb::ActionProfileAction {
                    action: Some(self.call(table)?),
                    weight: 1 + self.random.below(2) as i32,
                    ..Default::default()
                })
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Call::ActionProfileActionSet(pb::ActionProfileActionSet {
            action_profile_actions: actions,
            ..Default::default()
        }))
    }

    fn entry(&mut self, table: &Table, at: usize, call: Option<Call>) -> Option<pb::Update> {
        if !self.writable.contains(&table.id) || table.fields.is_empty() {
            return None;
        }
        let mut entry = pb::TableEntry {
            table_id: table.id,
            action: Some(pb::TableAction {
                r#type: Some(call?),
            }),
            ..Default::default()
        };
        for field in &table.fields {
            let matched = self.field(field)?;
            entry.r#match.extend(matched.map(|matched| pb::FieldMatch {
                field_id: field.id,
                field_match_type: Some(matched),
            }));
        }
        if table.needs_priority {
            // Out of order, and never the same.
            entry.priority = (1 + (at * 5) % 11 * 10 + self.random.below(10)) as i32;
        }
        Some(insert(pb::entity::Entity::TableEntry(entry)))
    }

    /// `None`: a field that cannot be drawn; `Some(None)`: one left out because it matches anything.
    fn field(&mut self, field: &MatchField) -> Option<Option<FieldMatchType>> {
        let Width::Bits(width) = field.width else {
            return None;
        };
        let value = self.values.draw(self.random, width);
        self.values.note(width, &value);
        let short = |bytes: &[u8]| canonical(bytes).to_vec();
        Some(match field.kind {
            MatchKind::Exact => Some(FieldMatchType::Exact(Exact {
                value: short(&value),
            })),
            MatchKind::Lpm => {
                let length = match self.random.below(3) {
                    0 => width,
                    _ => self.random.below(width as usize + 1) as u32,
                };
                (length > 0).then(|| {
                    FieldMatchType::Lpm(Lpm {
                        value: short(&and(&value, &prefix(length, width))),
                        prefix_len: length as i32,
                    })
                })
            }
            MatchKind::Ternary => {
                let mask = match self.random.below(4) {
                    0 => self.values.draw(self.random, width),
                    1 => prefix(self.random.below(width as usize + 1) as u32, width),
                    _ => prefix(width, width),
                };
                mask.iter().any(|byte| *byte != 0).then(|| {
                    FieldMatchType::Ternary(Ternary {
                        value: short(&and(&value, &mask)),
                        mask: short(&mask),
                    })
                })
            }
            MatchKind::Range => {
                let other = self.values.draw(self.random, width);
                let (low, high) = if value <= other {
                    (value, other)
                } else {
                    (other, value)
                };
                let all = low.iter().all(|byte| *byte == 0) && high == prefix(width, width);
                (!all).then(|| {
                    FieldMatchType::Range(Range {
                        low: short(&low),
                        high: short(&high),
                    })
                })
            }
            MatchKind::Optional => (!self.random.once_in(3)).then(|| {
                FieldMatchType::Optional(Optional {
                    value: short(&value),
                })
            }),
        })
    }

    fn default(&mut self, table: &Table) -> Option<pb::Update> {
        if table.const_default_action.is_some()
            || !self.writable.contains(&table.id)
            || !self.random.once_in(2)
        {
            return None;
        }
        let usable = [Scope::TableAndDefault, Scope::DefaultOnly];
        let action = self.action(table, &usable)?;
        let entry = pb::TableEntry {
            table_id: table.id,
            is_default_action: true,
            action: Some(pb::TableAction {
                r#type: Some(Call::Action(action)),
            }),
            ..Default::default()
        };
        Some(pb::Update {
            r#type: pb::update::Type::Modify as i32,
            entity: Some(pb::Entity {
                entity: Some(pb::entity::Entity::TableEntry(entry)),
            }),
        })
    }

    fn call(&mut self, table: &Table) -> Option<pb::Action> {
        self.action(table, &[Scope::TableAndDefault, Scope::TableOnly])
    }

    fn action(&mut self, table: &Table, scopes: &[Scope]) -> Option<pb::Action> {
        let usable: Vec<&Action> = table
            .actions
            .iter()
            .filter(|of| scopes.contains(&of.scope))
            .map(|of| of.action.as_ref())
            .collect();
        let action = *self.random.of(&usable)?;
        let params = action
            .params
            .iter()
            .map(|param| {
                let value = self.values.draw(self.random, param.width.bits()?);
                Some(pb::action::Param {
                    param_id: param.id,
                    value: canonical(&value).to_vec(),
                })
            })
            .collect::<Option<Vec<_>>>()?;
        Some(pb::Action {
            action_id: action.id,
            params,
        })
    }
}

fn insert(entity: pb::entity::Entity) -> pb::Update {
    pb::Update {
        r#type: pb::update::Type::Insert as i32,
        entity: Some(pb::Entity {
            entity: Some(entity),
        }),
    }
}
