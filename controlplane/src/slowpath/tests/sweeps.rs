//! S63–S67: connections and pins that lead nowhere.

use super::*;
use crate::device::stale::{Admitted, Stale};
use crate::tables::{affinity, endpoint, frontend};

fn frontend_of(vip: [u8; 4]) -> frontend::Key {
    frontend::Key {
        vpc: 0,
        protocol: TCP,
        address: IpAddr::from(vip).into(),
        port: 80,
    }
}

/// What is stale once the endpoint of all connections to a VIP is gone.
fn gone(vip: [u8; 4], protocol: u8) -> Stale {
    let mut stale = Stale::default();
    let called = frontend::Key {
        protocol,
        ..frontend_of(vip)
    };
    stale.frontends.insert(called, Arc::from([]));
    stale
}

#[tokio::test]
async fn s63_s66_connections_to_what_is_gone_are_removed_and_forgotten() {
    for program in [Program::V1model, Program::Pna] {
        let mut rig = Rig::new(program);
        let packets = vec![
            rig.packet_in(5, syn(VIP, 40_000)),
            rig.packet_in(5, syn(OTHER_VIP, 40_001)),
        ];
        rig.take(packets).await;
        let pin = |client: u8| affinity::Key {
            affinity_id: 7,
            client: IpAddr::from([10, 244, 0, client]).into(),
        };
        for (client, port) in [(9, 8080), (10, 9090)] {
            let target = endpoint::Target {
                address: IpAddr::from(ENDPOINT).into(),
                port,
                flags: 0,
                endpoint_id: 0,
            };
            let entry = rig.tables.affinity.entry(&pin(client), &target);
            rig.device.entries.lock().insert(key_of(&entry), entry);
        }
        let mut stale = gone(VIP, TCP);
        stale
            .pins
            .insert(7, Arc::from([(IpAddr::from(ENDPOINT).into(), 9090)]));
        rig.device.sweeps.hand_over(stale);
        rig.path.sweep(rig.now).await;
        rig.path.finish_sweep().await;
        assert_eq!(rig.flow(VIP, 40_000), None, "{program}");
        assert_eq!(rig.reply(40_000), None);
        assert!(rig.flow(OTHER_VIP, 40_001).is_some(), "another's stays");
        assert!(rig.reply(40_001).is_some());
        let pins: Vec<_> = {
            let entries = rig.device.entries.lock();
            let known = entries
                .values()
                .filter_map(|e| rig.tables.affinity.decode(e));
            known.map(|(key, _)| key).collect()
        };
        assert_eq!(pins, [pin(10)], "the pin to what serves stays");
        assert_eq!(rig.path.counters().snapshot().stale, 1);

        // Forgotten, too: the next packet opens it anew, with what the pipeline picks now.
        let packet = rig.packet_in(5, syn(VIP, 40_000));
        rig.take(vec![packet]).await;
        assert!(rig.flow(VIP, 40_000).is_some() && rig.reply(40_000).is_some());
    }
}

/// S67: twice as many connections take twice the time, not four times: every entry is looked at once.
#[tokio::test]
async fn s67_a_clean_up_reads_the_table_once_and_writes_in_batches() {
    let mut rig = Rig::new(Program::Pna);
    let flows = 5000u16;
    for port in 0..flows {
        let key = Key {
            vpc: 0,
            protocol: UDP,
            tuple: tuple(CLIENT, port, VIP, 80),
        };
        let entry = rig
            .tables
            .flow
            .entry(&key, &tuple(CLIENT, port, ENDPOINT, 8080));
        rig.device.entries.lock().insert(key_of(&entry), entry);
    }
    let mut stale = gone(VIP, UDP);
    for other in 0..2000u16 {
        let [high, low] = other.to_be_bytes();
        stale.extend(gone([10, 97, high, low], UDP));
    }
    rig.device.sweeps.hand_over(stale);
    rig.path.sweep(rig.now).await;
    rig.path.finish_sweep().await;
    assert!(rig.device.entries.lock().is_empty());
    assert_eq!(*rig.device.writes.lock(), 5, "1024 connections in a call");
}

/// What was found to lead nowhere serves again, or leads elsewhere, when it is to be deleted.
#[tokio::test]
async fn s63_s64_what_is_deleted_leads_nowhere_at_that_moment() {
    for program in [Program::V1model, Program::Pna] {
        let mut rig = Rig::new(program);
        let packets = vec![
            rig.packet_in(5, syn(VIP, 40_000)),
            rig.packet_in(5, syn(OTHER_VIP, 40_001)),
        ];
        rig.take(packets).await;
        let pin = affinity::Key {
            affinity_id: 7,
            client: IpAddr::from([10, 244, 0, 9]).into(),
        };
        let target = endpoint::Target {
            address: IpAddr::from(ENDPOINT).into(),
            port: 8080,
            flags: 0,
            endpoint_id: 0,
        };
        let entry = rig.tables.affinity.entry(&pin, &target);
        rig.device.entries.lock().insert(key_of(&entry), entry);
        let mut stale = gone(VIP, TCP);
        stale.extend(gone(OTHER_VIP, TCP));
        stale.pins.insert(7, Arc::from([]));
        rig.device.sweeps.hand_over(stale);
        rig.path.sweep(rig.now).await;
        let found = rig.path.sweep.ready().await;
        rig.path.go_on(found, rig.now).await;
        let (called, serving) = (
            frontend_of(VIP),
            Arc::from([(IpAddr::from(ENDPOINT).into(), 8080)]),
        );
        rig.device.sweeps.admit(&Admitted {
            service_id: 8,
            frontends: &[called],
            serving: &serving,
        });
        rig.path.sweep.wrote(pin);
        rig.path.finish_sweep().await;
        assert!(
            rig.flow(VIP, 40_000).is_some(),
            "{program}: it serves again"
        );
        assert_eq!(rig.flow(OTHER_VIP, 40_001), None, "{program}");
        let entry = rig.tables.affinity.key(&pin);
        let kept = rig.device.entries.lock().contains_key(&key_of(&entry));
        assert!(
            kept,
            "{program}: the client was given another endpoint meanwhile"
        );
    }
}

/// A first packet that was on its way when the device learned that its endpoint is gone.
#[tokio::test]
async fn s63_connections_that_were_on_their_way_are_removed_too() {
    let mut rig = Rig::new(Program::V1model);
    let packet = rig.packet_in(5, syn(OTHER_VIP, 40_001));
    rig.take(vec![packet]).await;
    rig.device.sweeps.hand_over(gone(VIP, TCP));
    rig.path.sweep(rig.now).await;
    rig.path.finish_sweep().await;
    assert!(rig.device.sweeps.is_idle() && rig.device.sweeps.has_work());
    let packet = rig.packet_in(5, syn(VIP, 40_000));
    rig.take(vec![packet]).await;
    assert!(rig.flow(VIP, 40_000).is_some());
    rig.path.sweep(rig.path.sweep.at.unwrap()).await;
    assert_eq!(rig.flow(VIP, 40_000), None);
    assert!(rig.flow(OTHER_VIP, 40_001).is_some());
    assert!(!rig.device.sweeps.has_work());
}

/// What comes before its Service does is refused, or passes by: there is nothing to remove later.
#[tokio::test]
async fn s65_a_packet_that_nothing_serves_leaves_no_entry() {
    for program in [Program::V1model, Program::Pna] {
        let mut rig = Rig::new(program);
        let packets = vec![
            rig.packet_in(6, syn(VIP, 40_000)),
            rig.packet_in(8, syn(VIP, 40_001)),
        ];
        rig.take(packets).await;
        assert!(rig.device.entries.lock().is_empty(), "{program}");
    }
}
