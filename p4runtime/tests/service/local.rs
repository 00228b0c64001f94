//! A service in the client's own process: batches go to it without a connection, and the answers are the same.

use crate::double::{Served, config, serve};
use p4runtime::client::{Client, Config, PipelineAction, UpdateResult, entry_update};
use p4runtime::proto::p4::v1 as proto;
use p4runtime::server::Options;
use proto::update::Type;
use tonic::Code;

async fn connect(served: &Served, election_id: u128, local: bool) -> Client {
    let mut config = Config::new(served.address.to_string());
    config.election_id = Some(election_id);
    config.local = local.then(|| served.service.clone());
    Client::connect(config).await.unwrap().0
}

fn codes(results: &[UpdateResult]) -> Vec<Code> {
    let code = |result: &UpdateResult| {
        result
            .as_ref()
            .map_or_else(|error| error.code, |()| Code::Ok)
    };
    results.iter().map(code).collect()
}

#[tokio::test]
async fn the_same_answers_without_a_connection() {
    let served = serve(Options::default()).await;
    let client = connect(&served, 2, true).await;
    let none = entry_update(Type::Insert, proto::TableEntry::default());
    let refused = client.write(vec![none.clone()]).await.unwrap_err();
    assert_eq!(refused.source.code(), Some(Code::FailedPrecondition));
    let action = PipelineAction::VerifyAndCommit;
    client.set_pipeline(action, Some(config())).await.unwrap();
    let schema = client.schema().await.unwrap();
    let entry = |vpc: u16| {
        let params = [("port", 3u8.into()), ("mac", 9u8.into())];
        let entry = schema.entry("exact_table").unwrap();
        let entry = entry.exact("vpc", vpc).exact("address", 7u64);
        entry.action("forward", &params).build().unwrap()
    };
    let batch = vec![
        entry_update(Type::Insert, entry(1)),
        entry_update(Type::Insert, entry(1)),
        none,
        entry_update(Type::Insert, entry(2)),
        entry_update(Type::Delete, entry(3)),
    ];
    let expected = [
        Code::Ok,
        Code::AlreadyExists,
        Code::InvalidArgument,
        Code::Ok,
        Code::NotFound,
    ];
    assert_eq!(codes(&client.write(batch.clone()).await.unwrap()), expected);
    let table = schema.table("exact_table").unwrap().id;
    assert_eq!(client.read_table(table).await.unwrap().len(), 2);

    // Who is not the primary is refused here as over the network; who takes over is told the same.
    let next = connect(&served, 3, false).await;
    let refused = client.write(batch.clone()).await.unwrap_err();
    assert!(refused.source.not_primary() && refused.done.is_empty());
    let insert = |vpc| vec![entry_update(Type::Insert, entry(vpc))];
    assert_eq!(
        codes(&next.write(insert(1)).await.unwrap()),
        [Code::AlreadyExists]
    );
    assert_eq!(codes(&next.write(insert(4)).await.unwrap()), [Code::Ok]);
    client.shutdown().await;
    next.shutdown().await;
}
