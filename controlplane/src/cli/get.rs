//! `nicproxy get`: what a device holds.
//!
//! In: a device's tables. Out: Services, endpoints, open connections, tables, or the device itself, as rows. Names come
//! from the owners that entries carry, so this works beside any controller and without a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::args::DeviceArgs;
use super::output::{self, Format};
use super::reader::Reader;
use crate::compile::policy_of;
use crate::model::{Family, Protocol};
use crate::reconcile;
use crate::tables::frontend::{self, Action as Serving};
use crate::telemetry::counters::Owner;

/// Arguments of `nicproxy get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// What to show
    #[arg(value_enum)]
    pub what: What,
    /// Only what belongs to this: NAME or NAMESPACE/NAME
    pub name: Option<String>,
    /// Which device.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// What to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// VIPs and what is done with connections to them
    #[value(alias = "service", alias = "svc")]
    Services,
    /// Endpoints and their shares of new connections
    #[value(alias = "endpoint", alias = "ep")]
    Endpoints,
    /// Open connections
    #[value(alias = "flow")]
    Flows,
    /// Tables and how full they are
    #[value(alias = "table")]
    Tables,
    /// The device and its program
    #[value(alias = "target")]
    Targets,
}

/// Shows it.
///
/// # Errors
/// When the device does not answer.
pub async fn get(args: GetArgs) -> anyhow::Result<()> {
    let reader = Reader::open(&args.device).await?;
    let wanted = Wanted(args.name.as_deref());
    match args.what {
        What::Services => output::print(args.output, &services(&reader, wanted).await?, |rows| {
            services_table(rows)
        }),
        What::Endpoints => output::print(args.output, &endpoints(&reader, wanted).await?, |rows| {
            endpoints_table(rows)
        }),
        What::Flows => output::print(args.output, &flows(&reader, wanted).await?, |rows| {
            flows_table(rows)
        }),
        What::Tables => output::print(args.output, &tables(&reader).await?, |rows| {
            tables_table(rows)
        }),
        What::Targets => output::print(args.output, &target(&reader).await?, target_table),
    }
}

/// A filter by name.
#[derive(Clone, Copy)]
pub struct Wanted<'a>(pub Option<&'a str>);

impl Wanted<'_> {
    fn fits(self, namespace: &str, name: &str) -> bool {
        match self
            .0
            .map(|text| text.split_once('/').unwrap_or(("", text)))
        {
            None => true,
            Some((space, wanted)) => wanted == name && (space.is_empty() || space == namespace),
        }
    }
}

/// One VIP and port.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceRow {
    /// Namespace.
    pub namespace: String,
    /// Service.
    pub name: String,
    /// Name of the port.
    pub port_name: String,
    /// Protocol.
    pub protocol: String,
    /// Address.
    pub vip: IpAddr,
    /// Port.
    pub port: u16,
    /// `serve`, `reject` or `drop`.
    pub action: &'static str,
    /// What becomes of connections of pods and the node.
    pub inside: String,
    /// What becomes of all others.
    pub outside: String,
    /// Whose connections get another source address.
    pub masquerade: String,
    /// The client keeps its endpoint.
    pub affinity: bool,
    /// Only admitted sources are served.
    pub checks_source: bool,
    /// Endpoints that get new connections.
    pub endpoints: usize,
    /// Slots of the endpoint set.
    pub slots: usize,
    /// Packets from clients so far.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// VIPs, in order of name.
///
/// # Errors
/// When the device does not answer.
pub async fn services(reader: &Reader, wanted: Wanted<'_>) -> anyhow::Result<Vec<ServiceRow>> {
    let sets = sets(reader).await?;
    let mut rows = Vec::new();
    for found in reader.entries(&reader.tables.frontend).await? {
        let owner = Owner::parse(&found.owner);
        if !wanted.fits(owner.namespace, owner.name) {
            continue;
        }
        let mut slots: BTreeMap<Numbered, usize> = BTreeMap::new();
        // The larger of the two sets: who is served from inside may be more.
        for (set_id, slot_mask) in found.action.sets().into_iter().flatten() {
            let own = live(&sets, set_id, slot_mask);
            if own.len() > slots.len() {
                slots = own;
            }
        }
        let (inside, outside) = reconcile::outcomes(&found.action);
        let flags = match found.action {
            Serving::Serve { flags, .. } => flags,
            Serving::Reject { .. } | Serving::Drop { .. } => 0,
        };
        let counted = found.entry.counter_data.unwrap_or_default();
        rows.push(ServiceRow {
            namespace: owner.namespace.to_owned(),
            name: owner.name.to_owned(),
            port_name: owner.port_name.to_owned(),
            protocol: protocol(found.key.protocol),
            vip: found.key.address.ip(),
            port: found.key.port,
            action: match found.action {
                Serving::Serve { .. } => "serve",
                Serving::Reject { .. } => "reject",
                Serving::Drop { .. } => "drop",
            },
            inside,
            outside,
            masquerade: reconcile::masqueraded(&found.action),
            affinity: flags & frontend::AFFINITY != 0,
            checks_source: flags & frontend::CHECK_SOURCE != 0,
            endpoints: slots.len(),
            slots: slots.values().sum(),
            packets: u64::try_from(counted.packet_count).unwrap_or_default(),
            bytes: u64::try_from(counted.byte_count).unwrap_or_default(),
        });
    }
    rows.sort_by(|a, b| {
        (&a.namespace, &a.name, &a.port_name, a.vip).cmp(&(
            &b.namespace,
            &b.name,
            &b.port_name,
            b.vip,
        ))
    });
    Ok(rows)
}

/// An endpoint and the number by which it is counted.
type Numbered = (SocketAddr, u32);

/// Endpoints by set and slot.
type Sets = BTreeMap<u32, BTreeMap<u16, Numbered>>;

async fn sets(reader: &Reader) -> anyhow::Result<Sets> {
    let mut sets = Sets::new();
    for found in reader.entries(&reader.tables.endpoint).await? {
        let endpoint = SocketAddr::new(found.action.address.ip(), found.action.port);
        sets.entry(found.key.set_id)
            .or_default()
            .insert(found.key.slot, (endpoint, found.action.endpoint_id));
    }
    Ok(sets)
}

/// Slots by endpoint, as far as a mask reaches.
fn live(sets: &Sets, set: u32, mask: u16) -> BTreeMap<Numbered, usize> {
    let mut slots = BTreeMap::new();
    for (slot, endpoint) in sets.get(&set).into_iter().flatten() {
        if *slot <= mask {
            *slots.entry(*endpoint).or_default() += 1;
        }
    }
    slots
}

fn protocol(number: u8) -> String {
    Protocol::from_number(number)
        .map_or_else(|| number.to_string(), |protocol| protocol.to_string())
}

fn services_table(rows: &[ServiceRow]) -> String {
    output::table(
        [
            "NAMESPACE",
            "NAME",
            "PORT",
            "VIP",
            "ACTION",
            "OUTSIDE",
            "SOURCE NAT",
            "ENDPOINTS",
            "SLOTS",
            "PACKETS",
            "BYTES",
        ],
        &[7, 8, 9, 10],
        rows.iter().map(|row| {
            [
                row.namespace.clone(),
                row.name.clone(),
                format!("{} {}/{}", row.port_name, row.port, row.protocol)
                    .trim_start()
                    .to_owned(),
                row.vip.to_string(),
                row.inside.clone(),
                if row.outside == row.inside {
                    "same".to_owned()
                } else {
                    row.outside.clone()
                },
                if row.masquerade.is_empty() {
                    "-".to_owned()
                } else {
                    row.masquerade.clone()
                },
                row.endpoints.to_string(),
                row.slots.to_string(),
                row.packets.to_string(),
                row.bytes.to_string(),
            ]
        }),
    )
}

/// One endpoint of one Service port.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndpointRow {
    /// Namespace.
    pub namespace: String,
    /// Service.
    pub service: String,
    /// Name of the port.
    pub port_name: String,
    /// Protocol.
    pub protocol: String,
    /// Traffic policy that it serves under; `Cluster` may stand for both.
    pub policy: String,
    /// Address and port.
    pub endpoint: SocketAddr,
    /// Slots that lead to it.
    pub slots: usize,
    /// Fraction of new connections that it gets.
    pub share: f64,
    /// Packets from clients so far, as far as the device counts them.
    pub packets: Option<u64>,
    /// Their bytes.
    pub bytes: Option<u64>,
    /// Packets back to clients.
    pub reply_packets: Option<u64>,
    /// Their bytes.
    pub reply_bytes: Option<u64>,
}

/// Endpoints, in order of Service.
///
/// # Errors
/// When the device does not answer.
pub async fn endpoints(reader: &Reader, wanted: Wanted<'_>) -> anyhow::Result<Vec<EndpointRow>> {
    let sets = sets(reader).await?;
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    let mut counted = Vec::new();
    for found in reader.entries(&reader.tables.frontend).await? {
        let owner = Owner::parse(&found.owner);
        if !wanted.fits(owner.namespace, owner.name) {
            continue;
        }
        let family = Family::of(found.key.address.ip());
        for (set_id, slot_mask) in found.action.sets().into_iter().flatten() {
            // VIPs of one port and family share sets.
            if !seen.insert((found.owner.clone(), family, set_id)) {
                continue;
            }
            let slots = live(&sets, set_id, slot_mask);
            let total: usize = slots.values().sum();
            counted.extend(slots.keys().map(|(_, endpoint_id)| *endpoint_id));
            rows.extend(slots.into_iter().map(|((endpoint, _), slots)| EndpointRow {
                namespace: owner.namespace.to_owned(),
                service: owner.name.to_owned(),
                port_name: owner.port_name.to_owned(),
                protocol: protocol(found.key.protocol),
                policy: format!("{:?}", policy_of(set_id)),
                endpoint,
                slots,
                share: slots as f64 / total as f64,
                packets: None,
                bytes: None,
                reply_packets: None,
                reply_bytes: None,
            }));
        }
    }
    let sent = reader.cells("endpoint_counter", &counted).await?;
    let answered = reader.cells("endpoint_replies", &counted).await?;
    for (row, id) in rows.iter_mut().zip(&counted) {
        (row.packets, row.bytes) = sent.get(id).copied().unzip();
        (row.reply_packets, row.reply_bytes) = answered.get(id).copied().unzip();
    }
    rows.sort_by(|a, b| {
        (&a.namespace, &a.service, &a.port_name, a.endpoint).cmp(&(
            &b.namespace,
            &b.service,
            &b.port_name,
            b.endpoint,
        ))
    });
    Ok(rows)
}

fn endpoints_table(rows: &[EndpointRow]) -> String {
    output::table(
        [
            "NAMESPACE",
            "SERVICE",
            "PORT",
            "POLICY",
            "ENDPOINT",
            "SLOTS",
            "SHARE",
            "PACKETS",
            "BYTES",
            "BACK",
            "BYTES BACK",
        ],
        &[5, 6, 7, 8, 9, 10],
        rows.iter().map(|row| {
            [
                row.namespace.clone(),
                row.service.clone(),
                format!("{} {}", row.port_name, row.protocol)
                    .trim_start()
                    .to_owned(),
                row.policy.clone(),
                row.endpoint.to_string(),
                row.slots.to_string(),
                format!("{:.1} %", row.share * 100.0),
                count(row.packets),
                count(row.bytes),
                count(row.reply_packets),
                count(row.reply_bytes),
            ]
        }),
    )
}

fn count(found: Option<u64>) -> String {
    found.map_or_else(|| "-".to_owned(), |count| count.to_string())
}

/// One open connection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlowRow {
    /// Virtual network.
    pub vpc: u32,
    /// Protocol.
    pub protocol: String,
    /// Client, as it sends.
    pub client: SocketAddr,
    /// Where it connected.
    pub vip: SocketAddr,
    /// Namespace and Service, if the VIP still is one's.
    pub service: Option<String>,
    /// Source that the endpoint sees.
    pub source: SocketAddr,
    /// The endpoint.
    pub endpoint: SocketAddr,
    /// Answers find their way back.
    pub answered: bool,
}

/// Open connections, in order of client.
///
/// # Errors
/// When the device does not answer.
pub async fn flows(reader: &Reader, wanted: Wanted<'_>) -> anyhow::Result<Vec<FlowRow>> {
    let mut names = BTreeMap::new();
    for found in reader.entries(&reader.tables.frontend).await? {
        names.insert(
            (
                found.key.vpc,
                found.key.protocol,
                found.key.address,
                found.key.port,
            ),
            found.owner,
        );
    }
    let replies = reader.entries(&reader.tables.reply).await?;
    let replies: BTreeSet<_> = replies.into_iter().map(|found| found.key).collect();
    let mut rows = Vec::new();
    for found in reader.entries(&reader.tables.flow).await? {
        let (from, to) = (found.key.tuple, found.action);
        let owner = names.get(&(found.key.vpc, found.key.protocol, from.dst, from.dst_port));
        let parts = owner.map(|owner| Owner::parse(owner));
        if wanted.0.is_some()
            && !parts.is_some_and(|owner| wanted.fits(owner.namespace, owner.name))
        {
            continue;
        }
        let answer = crate::tables::flow::Key {
            tuple: to.reversed(),
            ..found.key
        };
        rows.push(FlowRow {
            vpc: found.key.vpc,
            protocol: protocol(found.key.protocol),
            client: SocketAddr::new(from.src.ip(), from.src_port),
            vip: SocketAddr::new(from.dst.ip(), from.dst_port),
            service: parts.map(|owner| format!("{}/{}", owner.namespace, owner.name)),
            source: SocketAddr::new(to.src.ip(), to.src_port),
            endpoint: SocketAddr::new(to.dst.ip(), to.dst_port),
            answered: replies.contains(&answer),
        });
    }
    rows.sort_by(|a, b| {
        (a.vpc, a.client, a.vip, &a.protocol).cmp(&(b.vpc, b.client, b.vip, &b.protocol))
    });
    Ok(rows)
}

fn flows_table(rows: &[FlowRow]) -> String {
    output::table(
        [
            "PROTOCOL", "CLIENT", "VIP", "SERVICE", "SOURCE", "ENDPOINT", "REPLY",
        ],
        &[],
        rows.iter().map(|row| {
            [
                row.protocol.clone(),
                row.client.to_string(),
                row.vip.to_string(),
                row.service.clone().unwrap_or_else(|| "-".to_owned()),
                if row.source == row.client {
                    "kept".to_owned()
                } else {
                    row.source.to_string()
                },
                row.endpoint.to_string(),
                if row.answered { "yes" } else { "no" }.to_owned(),
            ]
        }),
    )
}

/// One table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableRow {
    /// Name.
    pub table: String,
    /// Entries.
    pub entries: usize,
    /// Entries that the program asks room for.
    pub size: u64,
    /// Key elements.
    pub key: Vec<String>,
    /// The device adds entries itself, or they go by themselves.
    pub idle_timeout: bool,
}

/// Tables, in order of the program.
///
/// # Errors
/// When the device does not answer.
pub async fn tables(reader: &Reader) -> anyhow::Result<Vec<TableRow>> {
    let mut rows = Vec::new();
    for table in &reader.schema.tables {
        rows.push(TableRow {
            table: table.alias.clone(),
            entries: reader.raw(table.id).await?.len(),
            size: table.size,
            key: table
                .fields
                .iter()
                .map(|field| format!("{} {}", field.name, field.kind))
                .collect(),
            idle_timeout: table.idle_timeout,
        });
    }
    Ok(rows)
}

fn tables_table(rows: &[TableRow]) -> String {
    output::table(
        ["TABLE", "ENTRIES", "SIZE", "FULL", "KEY"],
        &[1, 2, 3],
        rows.iter().map(|row| {
            [
                row.table.clone(),
                row.entries.to_string(),
                row.size.to_string(),
                format!(
                    "{:.2} %",
                    row.entries as f64 * 100.0 / row.size.max(1) as f64
                ),
                row.key.join(", "),
            ]
        }),
    )
}

/// A device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetRow {
    /// Where it is.
    pub address: String,
    /// Device id.
    pub device_id: u64,
    /// P4Runtime version that it speaks.
    pub p4runtime: String,
    /// Name of its program, if P4Info tells.
    pub program: String,
    /// Architecture of its program.
    pub architecture: String,
    /// Cookie of its program, hexadecimal; 0 for none.
    pub cookie: String,
    /// This session's standing: `primary`, `backup`, …
    pub role: String,
    /// Tables.
    pub tables: Vec<TableRow>,
}

/// The device.
///
/// # Errors
/// When it does not answer.
pub async fn target(reader: &Reader) -> anyhow::Result<TargetRow> {
    let info = reader.schema.p4info().pkg_info.clone().unwrap_or_default();
    Ok(TargetRow {
        address: reader.address.clone(),
        device_id: reader.client.device_id(),
        p4runtime: reader
            .client
            .capabilities()
            .await
            .unwrap_or_else(|_| "unknown".to_owned()),
        program: info.name,
        architecture: info.arch,
        cookie: format!("{:#x}", reader.cookie),
        role: standing(reader).await,
        tables: tables(reader).await?,
    })
}

/// Who is the primary, as far as the device tells a client that does not want to be.
async fn standing(reader: &Reader) -> String {
    use p4runtime::client::State;
    let mut state = reader.client.state();
    let settled = state.wait_for(|state| *state != State::Connecting);
    let settled = tokio::time::timeout(std::time::Duration::from_secs(2), settled).await;
    match settled.as_ref() {
        Ok(Ok(state)) => match &**state {
            State::Primary => "primary".to_owned(),
            State::Backup { primary: Some(id) } => format!("has a primary, election id {id}"),
            State::Backup { primary: None } => "has a primary".to_owned(),
            State::NoPrimary { .. } => "has no primary".to_owned(),
            other => format!("{other:?}"),
        },
        _ => "unknown".to_owned(),
    }
}

fn target_table(row: &TargetRow) -> String {
    let head = output::table(
        [
            "ADDRESS",
            "DEVICE",
            "P4RUNTIME",
            "PROGRAM",
            "ARCH",
            "COOKIE",
            "ROLE",
        ],
        &[1],
        [[
            row.address.clone(),
            row.device_id.to_string(),
            row.p4runtime.clone(),
            if row.program.is_empty() {
                "-".to_owned()
            } else {
                row.program.clone()
            },
            row.architecture.clone(),
            row.cookie.clone(),
            row.role.clone(),
        ]],
    );
    format!("{head}\n\n{}", tables_table(&row.tables))
}
