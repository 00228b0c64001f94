//! Between the numbers of P4Info and the handles of the IR.
//!
//! In: filled while the message is built. Out: constant-time answers in both directions; an id that P4Info does not
//! have answers `None`. Invariant: what one direction gives, the other takes back.

use std::collections::HashMap;

use crate::ir::{ExternInstance, Handle, Table, Type, ValueSet};

/// Ids of one table's parts.
#[derive(Clone, Debug, Default)]
pub struct TableIds {
    /// The table's id.
    pub id: u32,
    /// Match field ids by key position; zero for `selector` keys, which P4Info does not show.
    pub fields: Vec<u32>,
    /// The table's actions by position in its list.
    pub actions: Vec<ActionIds>,
    /// Id of the action profile or selector, if the table has one.
    pub implementation: Option<u32>,
}

/// Ids of an action as a table refers to it.
#[derive(Clone, Debug, Default)]
pub struct ActionIds {
    /// The action's id.
    pub id: u32,
    /// Parameter ids by position among the action data.
    pub params: Vec<u32>,
}

impl TableIds {
    /// Position in the key of a match field.
    pub fn field(&self, id: u32) -> Option<usize> {
        if id == 0 {
            return None;
        }
        // Ids count up from one unless the program says otherwise.
        let guess = id as usize - 1;
        if self.fields.get(guess) == Some(&id) {
            return Some(guess);
        }
        self.fields.iter().position(|&field| field == id)
    }

    /// Position in the table's action list of an action.
    pub fn action(&self, id: u32) -> Option<usize> {
        self.actions.iter().position(|action| action.id == id)
    }
}

impl ActionIds {
    /// Position among the action data of a parameter.
    pub fn param(&self, id: u32) -> Option<usize> {
        let guess = (id as usize).wrapping_sub(1);
        if self.params.get(guess) == Some(&id) {
            return Some(guess);
        }
        self.params.iter().position(|&param| param == id)
    }
}

/// Ids of a controller header's fields.
#[derive(Clone, Debug)]
pub struct PacketMetadataIds {
    /// The header's id.
    pub id: u32,
    /// `packet_in` or `packet_out`, as in `@controller_header`.
    pub name: String,
    /// The header type.
    pub header: Handle<Type>,
    /// Every field in wire order with its width in bits; id zero for hidden ones (padding).
    pub fields: Vec<(u32, u32)>,
}

/// Ids of everything that P4Info names.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    tables: HashMap<u32, Handle<Table>>,
    table_parts: Vec<Option<TableIds>>,
    externs: HashMap<u32, Handle<ExternInstance>>,
    extern_ids: HashMap<Handle<ExternInstance>, u32>,
    value_sets: HashMap<u32, (Handle<ValueSet>, Vec<u32>)>,
    digests: HashMap<u32, Handle<Type>>,
    /// Controller headers in declaration order.
    pub packet_metadata: Vec<PacketMetadataIds>,
}

impl Ids {
    /// The table with this id.
    pub fn table(&self, id: u32) -> Option<Handle<Table>> {
        self.tables.get(&id).copied()
    }

    /// A table's ids; `None` for tables that P4Info does not show.
    pub fn table_ids(&self, table: Handle<Table>) -> Option<&TableIds> {
        self.table_parts.get(table.index())?.as_ref()
    }

    /// Every table that P4Info shows, by handle.
    pub fn tables(&self) -> impl Iterator<Item = (Handle<Table>, &TableIds)> {
        let parts = self.table_parts.iter().enumerate();
        parts.filter_map(|(index, ids)| Some((Handle::new(index as u32), ids.as_ref()?)))
    }

    /// The counter, meter, register, action profile or digest instance with this id.
    pub fn extern_instance(&self, id: u32) -> Option<Handle<ExternInstance>> {
        self.externs.get(&id).copied()
    }

    /// An extern instance's id.
    pub fn extern_id(&self, instance: Handle<ExternInstance>) -> Option<u32> {
        self.extern_ids.get(&instance).copied()
    }

    /// Every extern instance that P4Info shows, in no order.
    pub fn externs(&self) -> impl Iterator<Item = (u32, Handle<ExternInstance>)> + '_ {
        self.externs.iter().map(|(&id, &handle)| (id, handle))
    }

    /// The value set with this id, and its match field ids by position.
    pub fn value_set(&self, id: u32) -> Option<(Handle<ValueSet>, &[u32])> {
        self.value_sets
            .get(&id)
            .map(|(set, fields)| (*set, fields.as_slice()))
    }

    /// Every value set, in no order.
    pub fn value_sets(&self) -> impl Iterator<Item = (u32, Handle<ValueSet>)> + '_ {
        self.value_sets.iter().map(|(&id, &(set, _))| (id, set))
    }

    /// The type of the `digest` calls with this id (v1model).
    pub fn digest_type(&self, id: u32) -> Option<Handle<Type>> {
        self.digests.get(&id).copied()
    }

    /// The id of `digest` calls with this type (v1model).
    pub fn digest_id(&self, ty: Handle<Type>) -> Option<u32> {
        self.digests
            .iter()
            .find(|&(_, &known)| known == ty)
            .map(|(&id, _)| id)
    }

    /// The controller header of this name (`packet_in`, `packet_out`).
    pub fn packet_header(&self, name: &str) -> Option<&PacketMetadataIds> {
        self.packet_metadata
            .iter()
            .find(|header| header.name == name)
    }

    pub(super) fn add_table(&mut self, table: Handle<Table>, ids: TableIds) {
        self.tables.insert(ids.id, table);
        if self.table_parts.len() <= table.index() {
            self.table_parts.resize(table.index() + 1, None);
        }
        self.table_parts[table.index()] = Some(ids);
    }

    pub(super) fn add_extern(&mut self, instance: Handle<ExternInstance>, id: u32) {
        self.externs.insert(id, instance);
        self.extern_ids.insert(instance, id);
    }

    pub(super) fn add_value_set(&mut self, set: Handle<ValueSet>, id: u32, fields: Vec<u32>) {
        self.value_sets.insert(id, (set, fields));
    }

    pub(super) fn add_digest(&mut self, ty: Handle<Type>, id: u32) {
        self.digests.insert(id, ty);
    }
}
