//! Fills a table with entries of a load balancer's endpoints, and says how fast that was: over gRPC from one controller in
//! this process, then without it (decode, check, insert: the switch's own share, on one thread).
//!
//! `cargo run --release -p softnic --example fill -- [ENTRIES] [BATCH]`

use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result};
use p4runtime::client::{Client, Config, PipelineAction, ResponseType, entry_update};
use p4runtime::entity::{Calls, ExactKey};
use p4runtime::proto::p4::v1 as pb;
use p4runtime::schema::Schema;
use p4runtime::server::P4Runtime;
use pb::update::Type;
use prost::Message;
use softnic::{Program, Running, SoftNic};

const PROGRAM: &str = include_str!("endpoints.p4");

#[tokio::main]
async fn main() -> Result<()> {
    let number = |at: usize, default: usize| {
        std::env::args()
            .nth(at)
            .map_or(Ok(default), |text| text.parse::<usize>())
    };
    let (entries, batch) = (number(1, 2_500_000)?, number(2, 10_000)?);
    let program = Program::from_text("endpoints.p4", PROGRAM)?;
    let schema = Schema::new(program.info.message.clone())?;
    let nic = SoftNic::builder()
        .program(program)
        .serve("127.0.0.1:0".parse()?)
        .await?;
    let config = Config {
        batch_updates: batch,
        ..Config::new(nic.address().to_string())
    };
    let (client, _notifications) = Client::connect(config).await?;
    let updates = endpoints(&schema, entries)?;
    let encoded = updates.chunks(batch).map(request).collect();
    let mut out = std::io::stdout();

    let start = Instant::now();
    let results = client.write(updates).await?;
    let good = results.iter().filter(|result| result.is_ok()).count();
    report(&mut out, "over gRPC", good, start)?;
    let table = schema
        .table("endpoint")
        .context("the program has no table endpoint")?
        .id;
    let start = Instant::now();
    let read = client.read_table(table).await?.len();
    report(&mut out, "read back", read, start)?;

    let pipeline = client.get_pipeline(ResponseType::All).await?;
    client
        .set_pipeline(PipelineAction::VerifyAndCommit, pipeline)
        .await?;
    let start = Instant::now();
    in_process(&nic, encoded).await?;
    report(&mut out, "in process", entries, start)?;
    nic.shutdown().await;
    Ok(())
}

fn report(out: &mut impl Write, what: &str, entries: usize, start: Instant) -> std::io::Result<()> {
    let elapsed = start.elapsed().as_secs_f64();
    let rate = entries as f64 / elapsed;
    writeln!(
        out,
        "{what}: {entries} entries in {elapsed:.2} s, {rate:.0} per second"
    )
}

fn endpoints(schema: &Schema, entries: usize) -> Result<Vec<pb::Update>> {
    let table = schema
        .table("endpoint")
        .context("the program has no table endpoint")?;
    let action = schema
        .action("to_endpoint")
        .context("the program has no such action")?;
    let key = ExactKey::new(table, &["set", "slot"])?;
    let calls = Calls::new(action, &["hi", "lo", "port"])?;
    let mut updates = Vec::with_capacity(entries);
    for index in 0..entries as u128 {
        let mut entry = key.entry(&[index >> 5, index & 31])?;
        entry.action = Some(calls.call(&[0, 0xffff_0a00_0000 + index, 8080])?);
        updates.push(entry_update(Type::Insert, entry));
    }
    Ok(updates)
}

fn request(updates: &[pb::Update]) -> Vec<u8> {
    let request = pb::WriteRequest {
        device_id: 1,
        election_id: Some(pb::Uint128 { high: 0, low: 1 }),
        updates: updates.to_vec(),
        ..Default::default()
    };
    request.encode_to_vec()
}

/// The requests again, decoded and applied without a connection.
async fn in_process(nic: &Running, requests: Vec<Vec<u8>>) -> Result<()> {
    let service = nic.service();
    for bytes in requests {
        let request = pb::WriteRequest::decode(&bytes[..])?;
        service.write(tonic::Request::new(request.into())).await?;
    }
    Ok(())
}
