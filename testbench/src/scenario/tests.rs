//! The scenarios that come with the project can be read, and templates say what they should.

use super::template::{Found, Place, PlaceSpec, Template, TemplateError, place};
use super::*;
use crate::packet::{Body, Transport};

fn parse(text: &str) -> Template {
    serde_saphyr::from_str(text).unwrap()
}

#[test]
fn every_scenario_of_the_project_loads_and_says_what_it_shows() {
    let scenarios = load_all(&folder()).unwrap();
    assert!(scenarios.len() >= 20, "{}", scenarios.len());
    for scenario in scenarios {
        assert!(
            !scenario.steps.about.is_empty() && !scenario.steps.steps.is_empty(),
            "{}",
            scenario.name
        );
    }
}

#[test]
fn places_are_addresses_with_and_without_ports_and_names() {
    let mut found = Found::new();
    let v6 = place("[fd00::1]:80", &found).unwrap();
    assert_eq!((v6.ip.is_ipv6(), v6.port), (true, Some(80)));
    assert_eq!(place("10.0.0.1", &found).unwrap().port, None);
    assert_eq!(
        place("$picked", &found),
        Err(TemplateError::NotFound("picked".to_owned()))
    );
    found.insert("picked".to_owned(), v6);
    assert_eq!(place("$picked", &found), Ok(v6));
    assert!(matches!(
        place("10.0.0.1:x", &found),
        Err(TemplateError::Value { .. })
    ));
}

#[test]
fn an_expected_packet_is_the_sent_one_but_for_what_is_named() {
    let found = Found::new();
    let sent = parse(
        "{port: 1, from: '10.0.0.1:4000', to: '10.0.0.2:80', proto: tcp, flags: psh ack, ttl: 9}",
    );
    let sent = sent.fresh([2; 6], &found).unwrap();
    let wanted = parse("{to: {any: ['10.1.0.1:8080', '10.1.0.2:8081'], as: picked}}")
        .derive(&sent, &found)
        .unwrap();
    assert_eq!(wanted.len(), 2);
    let Body::Ip(ip) = &wanted[1].packet.body else {
        panic!()
    };
    assert_eq!(ip.to.to_string(), "10.1.0.2");
    assert_eq!(ip.ttl, 9);
    assert!(matches!(
        ip.transport,
        Transport::Tcp {
            src: 4000,
            dst: 8081,
            flags: 0x18,
            ..
        }
    ));
    let place = Place {
        ip: ip.to,
        port: Some(8081),
    };
    assert_eq!(wanted[1].finds, [("picked".to_owned(), place)]);
}

#[test]
fn what_makes_no_packet_is_said_so() {
    let found = Found::new();
    assert!(matches!(
        parse("{proto: tcp}").fresh([0; 6], &found),
        Err(TemplateError::Missing(_))
    ));
    let several = parse("{proto: udp, from: 10.0.0.1, to: {any: [10.0.0.2, 10.0.0.3]}}");
    assert_eq!(
        several.fresh([0; 6], &found),
        Err(TemplateError::Several("from or to"))
    );
    let flags = parse("{proto: tcp, from: 10.0.0.1, to: 10.0.0.2, flags: sin}");
    assert!(matches!(
        flags.fresh([0; 6], &found),
        Err(TemplateError::Value { field: "flags", .. })
    ));
    assert!(serde_saphyr::from_str::<Template>("{prot: tcp}").is_err());
    let _: PlaceSpec = serde_saphyr::from_str("10.0.0.1").unwrap();
}

#[test]
fn verdicts_are_the_metrics_names_as_people_write_them() {
    let metrics = nicproxy::telemetry::counters::VERDICTS;
    let spoken = metrics.map(|name| match name {
        // Both a drop and a way on have to do with fragments.
        "fragment" => "later-fragment".to_owned(),
        name => name.trim_start_matches("drop_").replace('_', "-"),
    });
    assert_eq!(super::step::VERDICTS.map(str::to_owned), spoken);
}
