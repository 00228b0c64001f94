//! What a device holds, read over P4Runtime.
//!
//! In: an address. Out: its program and typed entries. Reading needs no arbitration to be won and changes nothing; it
//! works beside any controller.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use p4runtime::client::{Client, Config as ClientConfig, ResponseType};
use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::Schema;

use super::args::DeviceArgs;
use crate::config::Config;
use crate::tables::{Table, Tables};

/// Cells in one query.
const CELLS: usize = 4096;

/// A device that can be asked.
pub struct Reader {
    /// The session.
    pub client: Client,
    /// Where it is.
    pub address: String,
    /// The device's program.
    pub schema: Schema,
    /// Its tables.
    pub tables: Tables,
    /// Cookie of the program; 0 if it has none.
    pub cookie: u64,
}

/// One entry with its owner.
pub struct Owned<K, A> {
    /// Key.
    pub key: K,
    /// Action.
    pub action: A,
    /// The controller's note: whose it is.
    pub owner: String,
    /// The entry as the device sent it.
    pub entry: proto::TableEntry,
}

impl Reader {
    /// Connects and reads the program's interface.
    ///
    /// # Errors
    /// When nobody answers, or the device runs no program of this project.
    pub async fn open(args: &DeviceArgs) -> anyhow::Result<Self> {
        let mut config = Config::default();
        args.apply(&mut config);
        config.validate()?;
        let address = config.device.address.clone();
        let mut settings = ClientConfig::new(address.clone());
        settings.device_id = config.device.device_id;
        settings.role.clone_from(&config.device.role);
        settings.election_id = None;
        settings.tls = config.device.tls.client(&address);
        let (client, _notifications) =
            Client::start(settings).context("cannot use the address of --device")?;
        let pipeline = client
            .get_pipeline(ResponseType::P4infoAndCookie)
            .await
            .with_context(|| {
                format!("no answer from {address}; is the device running, and is --device right?")
            })?;
        let Some((info, cookie)) = pipeline.and_then(|p| Some((p.p4info?, p.cookie))) else {
            bail!("{address} runs no program; `nicproxy run --program pna` loads one");
        };
        let schema =
            Schema::new(info).with_context(|| format!("the P4Info of {address} makes no sense"))?;
        let tables = Tables::resolve(&schema)
            .with_context(|| format!("{address} runs another program than nicproxy's"))?;
        let cookie = cookie.map_or(0, |cookie| cookie.cookie);
        Ok(Self {
            client,
            address,
            schema,
            tables,
            cookie,
        })
    }

    /// Entries of a table, with the value of their direct counter where the table has one.
    ///
    /// # Errors
    /// When the read breaks off.
    pub async fn raw(&self, table: u32) -> anyhow::Result<Vec<proto::TableEntry>> {
        let counted = self
            .schema
            .tables
            .get(table)
            .is_some_and(|table| table.direct_counter.is_some());
        let wanted = proto::TableEntry {
            table_id: table,
            counter_data: counted.then(proto::CounterData::default),
            ..Default::default()
        };
        let entities = self
            .client
            .read_all(vec![p4runtime::client::entry_entity(wanted)])
            .await
            .with_context(|| format!("cannot read a table of {}", self.address))?;
        Ok(entities
            .into_iter()
            .filter_map(|entity| match entity.entity {
                Some(proto::entity::Entity::TableEntry(entry)) if !entry.is_default_action => {
                    Some(entry)
                }
                _ => None,
            })
            .collect())
    }

    /// Packets and bytes in some cells of a counter; empty if the program has no such counter.
    ///
    /// # Errors
    /// When the read breaks off.
    pub async fn cells(
        &self,
        counter: &str,
        indices: &[u32],
    ) -> anyhow::Result<BTreeMap<u32, (u64, u64)>> {
        let mut found = BTreeMap::new();
        let Some(counter) = self.schema.counters.named(counter) else {
            return Ok(found);
        };
        let mut wanted = indices.to_vec();
        // Number 0 is that of all endpoints that are not counted.
        wanted.retain(|index| *index != 0);
        wanted.sort_unstable();
        wanted.dedup();
        for part in wanted.chunks(CELLS) {
            let query = part.iter().map(|index| proto::Entity {
                entity: Some(proto::entity::Entity::CounterEntry(proto::CounterEntry {
                    counter_id: counter.id,
                    index: Some(proto::Index {
                        index: (*index).into(),
                    }),
                    data: None,
                })),
            });
            let entities = self.client.read_all(query.collect()).await;
            for entity in entities
                .with_context(|| format!("cannot read {} of {}", counter.alias, self.address))?
            {
                let Some(proto::entity::Entity::CounterEntry(cell)) = entity.entity else {
                    continue;
                };
                let index = cell.index.and_then(|index| u32::try_from(index.index).ok());
                if let (Some(index), Some(data)) = (index, cell.data) {
                    let number = |count| u64::try_from(count).unwrap_or_default();
                    found.insert(index, (number(data.packet_count), number(data.byte_count)));
                }
            }
        }
        Ok(found)
    }

    /// Typed entries of a table.
    ///
    /// # Errors
    /// When the read breaks off.
    pub async fn entries<T: Table>(
        &self,
        table: &T,
    ) -> anyhow::Result<Vec<Owned<T::Key, T::Action>>> {
        let entries = self.raw(table.id()).await?;
        Ok(entries
            .into_iter()
            .filter_map(|entry| {
                let (key, action) = table.decode(&entry)?;
                let owner = String::from_utf8_lossy(&entry.metadata).into_owned();
                Some(Owned {
                    key,
                    action,
                    owner,
                    entry,
                })
            })
            .collect())
    }
}
