//! The control plane's side of the engine: tables, action profiles, counters, meters, registers, replication.
//!
//! In: handles of the program's objects and borrowed values. Out: views of what is stored, typed errors.
//! Invariant: each call is atomic on its own object; packets never see half an entry.

use super::externs::{CloneSession, CounterData, ExternError, MeterConfig, Replica};
use super::tables::{
    Batch, Cursor, EntryAction, EntryView, FieldMatch, GroupMember, MatchKind, NewEntry, NewRows,
    OwnedAction, TableError,
};
use super::{Engine, OwnedField, Time};
use crate::ir::{ExternInstance, Handle, Table, ValueSet};

/// Tables.
impl Engine {
    /// Adds an entry.
    ///
    /// # Errors
    /// [`TableError::Exists`], [`TableError::Full`], or a malformed entry.
    pub fn insert(
        &self,
        now: Time,
        table: Handle<Table>,
        entry: &NewEntry<'_>,
    ) -> Result<(), TableError> {
        self.machine.table(table)?.insert(now, entry)
    }

    /// Adds many entries at once, as if by [`insert`](Self::insert) in order, and tells which were refused and why, by
    /// position. `refused` must not call back into the engine.
    ///
    /// # Errors
    /// [`TableError::NoSuchTable`].
    pub fn insert_rows(
        &self,
        now: Time,
        table: Handle<Table>,
        rows: &NewRows<'_>,
        refused: &mut dyn FnMut(usize, TableError),
    ) -> Result<(), TableError> {
        self.machine.table(table)?.insert_rows(now, rows, refused);
        Ok(())
    }

    /// Replaces action, metadata and timeout of the entry with the same match and priority.
    ///
    /// # Errors
    /// [`TableError::NotFound`], [`TableError::ReadOnly`], or a malformed entry.
    pub fn modify(
        &self,
        now: Time,
        table: Handle<Table>,
        entry: &NewEntry<'_>,
    ) -> Result<(), TableError> {
        self.machine.table(table)?.modify(now, entry)
    }

    /// Removes the entry with this match and priority.
    ///
    /// # Errors
    /// [`TableError::NotFound`], [`TableError::ReadOnly`], or a malformed match.
    pub fn delete(
        &self,
        table: Handle<Table>,
        fields: &[FieldMatch<'_>],
        priority: i32,
    ) -> Result<(), TableError> {
        self.machine.table(table)?.delete(fields, priority)
    }

    /// Shows the entry with this match and priority.
    ///
    /// # Errors
    /// [`TableError::NotFound`], or a malformed match.
    pub fn get(
        &self,
        now: Time,
        table: Handle<Table>,
        fields: &[FieldMatch<'_>],
        priority: i32,
        show: &mut dyn FnMut(&EntryView<'_>),
    ) -> Result<(), TableError> {
        self.machine.table(table)?.get(now, fields, priority, show)
    }

    /// Shows up to `max` entries from `cursor` on, the program's own included; `None` when the table is done.
    /// The table is locked for one call only. `show` must not call back into the engine.
    ///
    /// # Errors
    /// [`TableError::NoSuchTable`].
    pub fn read(
        &self,
        now: Time,
        table: Handle<Table>,
        cursor: Cursor,
        max: usize,
        show: &mut dyn FnMut(&EntryView<'_>),
    ) -> Result<Option<Cursor>, TableError> {
        Ok(self.machine.table(table)?.read(now, cursor, max, show))
    }

    /// Number of entries, the program's own included.
    ///
    /// # Errors
    /// [`TableError::NoSuchTable`].
    pub fn entry_count(&self, table: Handle<Table>) -> Result<u64, TableError> {
        Ok(self.machine.table(table)?.len())
    }

    /// Entries the table can hold; `None` is unlimited.
    ///
    /// # Errors
    /// [`TableError::NoSuchTable`].
    pub fn capacity(&self, table: Handle<Table>) -> Result<Option<u64>, TableError> {
        Ok(self.machine.table(table)?.capacity())
    }

    /// Match kind and width in bits of each key field, selector keys left out.
    ///
    /// # Errors
    /// [`TableError::NoSuchTable`].
    pub fn key_fields(&self, table: Handle<Table>) -> Result<Vec<(MatchKind, u32)>, TableError> {
        Ok(self.machine.table(table)?.key_fields())
    }

    /// Removes every entry but the program's const ones; learned entries too.
    ///
    /// # Errors
    /// [`TableError::NoSuchTable`].
    pub fn clear(&self, table: Handle<Table>) -> Result<(), TableError> {
        self.machine.table(table)?.clear();
        Ok(())
    }

    /// Sets the default action.
    ///
    /// # Errors
    /// [`TableError::ConstDefault`] or a malformed action.
    pub fn set_default(
        &self,
        table: Handle<Table>,
        action: EntryAction<'_>,
    ) -> Result<(), TableError> {
        self.machine.table(table)?.set_default(action)
    }

    /// Goes back to the program's default action.
    ///
    /// # Errors
    /// [`TableError::NoSuchTable`], [`TableError::ConstDefault`].
    pub fn reset_default(&self, table: Handle<Table>) -> Result<(), TableError> {
        self.machine.table(table)?.reset_default()
    }

    /// The default action in force.
    ///
    /// # Errors
    /// [`TableError::NoSuchTable`].
    pub fn default_action(&self, table: Handle<Table>) -> Result<OwnedAction, TableError> {
        Ok(self.machine.table(table)?.default_action())
    }

    /// The table as the packets of one batch use it.
    ///
    /// # Errors
    /// [`TableError::NoSuchTable`].
    pub fn batch(&self, table: Handle<Table>) -> Result<Batch<'_>, TableError> {
        Ok(Batch::new(self.machine.table(table)?))
    }

    /// Hits and misses of the table since load.
    ///
    /// # Errors
    /// [`TableError::NoSuchTable`].
    pub fn lookups(&self, table: Handle<Table>) -> Result<(u64, u64), TableError> {
        Ok(self.machine.table(table)?.lookups())
    }

    /// Sets the direct counter of an entry.
    ///
    /// # Errors
    /// [`TableError::NotFound`], [`TableError::NoDirectResource`].
    pub fn set_entry_counter(
        &self,
        table: Handle<Table>,
        fields: &[FieldMatch<'_>],
        priority: i32,
        data: CounterData,
    ) -> Result<(), TableError> {
        self.machine
            .table(table)?
            .set_counter(fields, priority, data)
    }

    /// Configures the direct meter of an entry; `None` makes it always green.
    ///
    /// # Errors
    /// [`TableError::NotFound`], [`TableError::NoDirectResource`].
    pub fn set_entry_meter(
        &self,
        table: Handle<Table>,
        fields: &[FieldMatch<'_>],
        priority: i32,
        config: Option<MeterConfig>,
    ) -> Result<(), TableError> {
        self.machine
            .table(table)?
            .set_meter(fields, priority, config)
    }
}

/// Action profiles and selectors, shared by the tables whose `implementation` they are.
impl Engine {
    /// Adds a member.
    ///
    /// # Errors
    /// [`TableError::Exists`], [`TableError::Full`], or a malformed action.
    pub fn insert_member(
        &self,
        profile: Handle<ExternInstance>,
        member: u32,
        action: &OwnedAction,
    ) -> Result<(), TableError> {
        self.machine.profile(profile)?.insert_member(member, action)
    }

    /// Changes what a member does.
    ///
    /// # Errors
    /// [`TableError::NoSuchMember`], or a malformed action.
    pub fn modify_member(
        &self,
        profile: Handle<ExternInstance>,
        member: u32,
        action: &OwnedAction,
    ) -> Result<(), TableError> {
        self.machine.profile(profile)?.modify_member(member, action)
    }

    /// Removes a member.
    ///
    /// # Errors
    /// [`TableError::NoSuchMember`], [`TableError::InUse`].
    pub fn delete_member(
        &self,
        profile: Handle<ExternInstance>,
        member: u32,
    ) -> Result<(), TableError> {
        self.machine.profile(profile)?.delete_member(member)
    }

    /// All members by id.
    ///
    /// # Errors
    /// [`TableError::NoSuchProfile`].
    pub fn members(
        &self,
        profile: Handle<ExternInstance>,
    ) -> Result<Vec<(u32, OwnedAction)>, TableError> {
        Ok(self.machine.profile(profile)?.members())
    }

    /// Adds a group. `max_size` 0 means the selector's own limit.
    ///
    /// # Errors
    /// [`TableError::Exists`], [`TableError::GroupTooBig`], [`TableError::NoSuchMember`], …
    pub fn insert_group(
        &self,
        profile: Handle<ExternInstance>,
        group: u32,
        max_size: u32,
        members: &[GroupMember],
    ) -> Result<(), TableError> {
        self.machine
            .profile(profile)?
            .insert_group(group, max_size, members)
    }

    /// Replaces a group's members at once.
    ///
    /// # Errors
    /// [`TableError::NoSuchGroup`], [`TableError::GroupTooBig`], [`TableError::NoSuchMember`], …
    pub fn modify_group(
        &self,
        profile: Handle<ExternInstance>,
        group: u32,
        members: &[GroupMember],
    ) -> Result<(), TableError> {
        self.machine.profile(profile)?.modify_group(group, members)
    }

    /// Removes a group.
    ///
    /// # Errors
    /// [`TableError::NoSuchGroup`], [`TableError::InUse`].
    pub fn delete_group(
        &self,
        profile: Handle<ExternInstance>,
        group: u32,
    ) -> Result<(), TableError> {
        self.machine.profile(profile)?.delete_group(group)
    }

    /// All groups by id: maximum size as written, and members.
    ///
    /// # Errors
    /// [`TableError::NoSuchProfile`].
    pub fn groups(
        &self,
        profile: Handle<ExternInstance>,
    ) -> Result<Vec<(u32, u32, Vec<GroupMember>)>, TableError> {
        Ok(self.machine.profile(profile)?.groups())
    }
}

/// Extern objects.
impl Engine {
    /// Cells of a counter, meter or register.
    ///
    /// # Errors
    /// [`ExternError::NoSuchObject`].
    pub fn array_size(&self, instance: Handle<ExternInstance>) -> Result<u64, ExternError> {
        self.machine.externs().array_size(instance)
    }

    /// One cell of an indirect counter.
    ///
    /// # Errors
    /// [`ExternError::NoSuchObject`], [`ExternError::OutOfRange`].
    pub fn counter(
        &self,
        instance: Handle<ExternInstance>,
        index: u64,
    ) -> Result<CounterData, ExternError> {
        self.machine.externs().counter(instance)?.read(index)
    }

    /// Sets one cell of an indirect counter.
    ///
    /// # Errors
    /// [`ExternError::NoSuchObject`], [`ExternError::OutOfRange`].
    pub fn set_counter(
        &self,
        instance: Handle<ExternInstance>,
        index: u64,
        data: CounterData,
    ) -> Result<(), ExternError> {
        self.machine.externs().counter(instance)?.write(index, data)
    }

    /// Configuration of one cell of an indirect meter; `None` is always green.
    ///
    /// # Errors
    /// [`ExternError::NoSuchObject`], [`ExternError::OutOfRange`].
    pub fn meter(
        &self,
        instance: Handle<ExternInstance>,
        index: u64,
    ) -> Result<Option<MeterConfig>, ExternError> {
        self.machine.externs().meter(instance)?.config(index)
    }

    /// Configures one cell of an indirect meter; `None` makes it always green.
    ///
    /// # Errors
    /// [`ExternError::NoSuchObject`], [`ExternError::OutOfRange`].
    pub fn set_meter(
        &self,
        instance: Handle<ExternInstance>,
        index: u64,
        config: Option<MeterConfig>,
    ) -> Result<(), ExternError> {
        self.machine
            .externs()
            .meter(instance)?
            .set_config(index, config)
    }

    /// One cell of a register: its leaf fields in order, big-endian at full width.
    ///
    /// # Errors
    /// [`ExternError::NoSuchObject`], [`ExternError::OutOfRange`].
    pub fn register(
        &self,
        instance: Handle<ExternInstance>,
        index: u64,
    ) -> Result<Vec<Vec<u8>>, ExternError> {
        self.machine.externs().register(instance)?.read_bytes(index)
    }

    /// Sets one cell of a register: one big-endian value per leaf field.
    ///
    /// # Errors
    /// [`ExternError::NoSuchObject`], [`ExternError::OutOfRange`], [`ExternError::TooWide`].
    pub fn set_register(
        &self,
        instance: Handle<ExternInstance>,
        index: u64,
        fields: &[&[u8]],
    ) -> Result<(), ExternError> {
        self.machine
            .externs()
            .register(instance)?
            .write_bytes(index, fields)
    }

    /// Sets every cell of a register to its initial value.
    ///
    /// # Errors
    /// [`ExternError::NoSuchObject`].
    pub fn reset_register(&self, instance: Handle<ExternInstance>) -> Result<(), ExternError> {
        self.machine.externs().register(instance)?.reset();
        Ok(())
    }

    /// Adds a multicast group.
    ///
    /// # Errors
    /// [`ExternError::BadId`], [`ExternError::Exists`].
    pub fn insert_multicast_group(
        &self,
        group: u32,
        replicas: &[Replica],
    ) -> Result<(), ExternError> {
        self.machine.replication().insert_group(group, replicas)
    }

    /// Replaces the replicas of a multicast group.
    ///
    /// # Errors
    /// [`ExternError::BadId`], [`ExternError::NotFound`], [`ExternError::Exists`] for a replica listed twice.
    pub fn modify_multicast_group(
        &self,
        group: u32,
        replicas: &[Replica],
    ) -> Result<(), ExternError> {
        self.machine.replication().modify_group(group, replicas)
    }

    /// Removes a multicast group.
    ///
    /// # Errors
    /// [`ExternError::NotFound`].
    pub fn delete_multicast_group(&self, group: u32) -> Result<(), ExternError> {
        self.machine.replication().delete_group(group)
    }

    /// All multicast groups by id.
    pub fn multicast_groups(&self) -> Vec<(u32, Vec<Replica>)> {
        self.machine.replication().groups()
    }

    /// Adds a clone session.
    ///
    /// # Errors
    /// [`ExternError::BadId`], [`ExternError::Exists`].
    pub fn insert_clone_session(
        &self,
        session: u32,
        data: &CloneSession,
    ) -> Result<(), ExternError> {
        self.machine.replication().insert_session(session, data)
    }

    /// Replaces a clone session.
    ///
    /// # Errors
    /// [`ExternError::BadId`], [`ExternError::NotFound`].
    pub fn modify_clone_session(
        &self,
        session: u32,
        data: &CloneSession,
    ) -> Result<(), ExternError> {
        self.machine.replication().modify_session(session, data)
    }

    /// Removes a clone session.
    ///
    /// # Errors
    /// [`ExternError::NotFound`].
    pub fn delete_clone_session(&self, session: u32) -> Result<(), ExternError> {
        self.machine.replication().delete_session(session)
    }

    /// All clone sessions by id.
    pub fn clone_sessions(&self) -> Vec<(u32, CloneSession)> {
        self.machine.replication().sessions()
    }

    /// Replaces the members of a parser value set: one field per leaf of its type.
    ///
    /// # Errors
    /// [`ExternError::NoSuchObject`], [`ExternError::Full`], [`ExternError::Exists`], [`ExternError::BadMember`].
    pub fn set_value_set(
        &self,
        set: Handle<ValueSet>,
        members: &[Vec<OwnedField>],
    ) -> Result<(), ExternError> {
        self.machine.externs().set_value_set(set, members)
    }

    /// The members of a parser value set, as written.
    ///
    /// # Errors
    /// [`ExternError::NoSuchObject`].
    pub fn value_set(&self, set: Handle<ValueSet>) -> Result<Vec<Vec<OwnedField>>, ExternError> {
        self.machine.externs().value_set(set)
    }

    /// Width in bits of each field of a value set's members.
    ///
    /// # Errors
    /// [`ExternError::NoSuchObject`].
    pub fn value_set_widths(&self, set: Handle<ValueSet>) -> Result<Vec<u32>, ExternError> {
        self.machine.externs().value_set_widths(set)
    }

    /// PNA: says on which side a port is.
    pub fn set_host_port(&self, port: u32, is_host: bool) {
        self.machine.externs().set_host_port(port, is_host);
    }
}
