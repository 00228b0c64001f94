//! Fills a table over P4Runtime as fast as one controller can, and says how fast that was.
//!
//! `cargo run --release -p softnic --example fill -- [ENTRIES] [BATCH]`

use std::io::Write;
use std::time::Instant;

use p4runtime::client::{Client, Config, entry_update};
use p4runtime::entity::{Calls, ExactKey};
use p4runtime::proto::p4::v1::update::Type;
use p4runtime::schema::Schema;
use softnic::{Program, SoftNic};

const PROGRAM: &str = include_str!("endpoints.p4");

#[tokio::main]
async fn main() -> anyhow::Result<()> {
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

    let table = schema
        .table("endpoint")
        .ok_or_else(|| anyhow::anyhow!("the program has no table endpoint"))?;
    let action = schema
        .action("to_endpoint")
        .ok_or_else(|| anyhow::anyhow!("the program has no such action"))?;
    let key = ExactKey::new(table, &["set", "slot"])?;
    let calls = Calls::new(action, &["hi", "lo", "port"])?;
    let mut updates = Vec::with_capacity(entries);
    for index in 0..entries as u128 {
        let mut entry = key.entry(&[index >> 5, index & 31])?;
        entry.action = Some(calls.call(&[0, 0xffff_0a00_0000 + index, 8080])?);
        updates.push(entry_update(Type::Insert, entry));
    }
    let start = Instant::now();
    let results = client.write(updates).await?;
    let elapsed = start.elapsed().as_secs_f64();
    let good = results.iter().filter(|result| result.is_ok()).count();
    let start = Instant::now();
    let read = client.read_table(table.id).await?.len();
    let mut out = std::io::stdout();
    writeln!(
        out,
        "wrote {good} of {entries} in {elapsed:.2} s: {:.0} per second",
        good as f64 / elapsed
    )?;
    writeln!(out, "read {read} in {:.2} s", start.elapsed().as_secs_f64())?;
    nic.shutdown().await;
    Ok(())
}
