//! What is deployed: the chart renders, the API server accepts it, nicproxy reads its configuration, and the plain
//! manifests are what the chart renders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use nicproxy::config::Config;
use testbench::kubernetes::assets::Checker;
use testbench::kubernetes::objects::Applier;
use testbench::kubernetes::{ApiServer, Assets};
use tokio::runtime::Runtime;

/// The resources of the Prometheus operator, as far as the chart uses them.
const MONITORING: &str = include_str!("monitoring.yaml");
/// Set to write the plain manifests anew.
const UPDATE: &str = "NICPROXY_UPDATE_MANIFESTS";

/// Values that the chart is rendered with, and the folder of plain manifests that comes of it.
const VARIANTS: [(&str, Option<&str>); 5] = [
    ("node", Some("")),
    ("central", Some("central")),
    ("monitoring", Some("monitoring")),
    ("embedded", None),
    ("everything", None),
];

/// Values that the chart refuses, and a word of the reason.
const REFUSED: [(&str, &str); 8] = [
    ("mode=both", "node or central"),
    ("embedded.program=dpdk", "pna or v1model"),
    ("mode=central,embedded.program=pna", "set mode to node"),
    ("embedded.ports={1=packet:eth0}", "set embedded.program"),
    ("mode=central", "config.nics"),
    (
        "config.nics.a.device.address=http://192.0.2.1:9559",
        "set mode to central",
    ),
    ("networkPolicy.enabled=true", "set mode to central"),
    ("serviceMonitor.enabled=true", "set metrics.exposed"),
];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../controlplane/deploy")
}

fn helm(words: &[String]) -> Result<String, String> {
    let helm = Checker::Helm
        .find()
        .unwrap_or_else(|error| panic!("{error}"));
    let output = Command::new(helm).args(words).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

fn template(with: &[String]) -> Result<String, String> {
    let chart = deploy().join("chart").display().to_string();
    let mut words: Vec<String> = ["template", "nicproxy", &chart, "--namespace=kube-system"]
        .map(str::to_owned)
        .to_vec();
    // What the API server of these tests says of itself.
    words.push("--kube-version=1.36.3".to_owned());
    words.extend_from_slice(with);
    helm(&words)
}

fn render(variant: &str) -> String {
    let values = deploy().join(format!("chart/ci/{variant}-values.yaml"));
    template(&[format!("--values={}", values.display())])
        .unwrap_or_else(|error| panic!("{variant}: {error}"))
}

/// Documents by the template that they come from.
fn files(rendered: &str) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for document in rendered.split("---\n") {
        let Some((source, text)) = document.split_once('\n') else {
            continue;
        };
        let name = source.rsplit('/').next().unwrap_or_default();
        let file = files.entry(name.to_owned()).or_default();
        if !file.is_empty() {
            file.push_str("---\n");
        }
        file.push_str(text.trim_end());
        file.push('\n');
    }
    files
}

#[test]
#[ignore = "needs Go, and Go or KUBEBUILDER_ASSETS"]
fn the_api_server_accepts_what_the_chart_renders() {
    let chart = deploy().join("chart").display().to_string();
    helm(&["lint".to_owned(), "--strict".to_owned(), chart]).unwrap();
    let assets = Assets::find().unwrap_or_else(|error| panic!("{error}"));
    Runtime::new().unwrap().block_on(async {
        let api = ApiServer::start(&assets).await.unwrap();
        let client = api.client().await.unwrap();
        let applier = Applier::new(client.clone()).await.unwrap();
        applier.apply(MONITORING).await.unwrap();
        applier.established().await.unwrap();
        let applier = Applier::new(client).await.unwrap().dry_run();
        for (variant, _) in VARIANTS {
            let applied = applier
                .apply(&render(variant))
                .await
                .unwrap_or_else(|error| panic!("{variant}: {error}"));
            assert!(applied.len() > 4, "{variant}: {}", applied.len());
        }
    });
}

#[test]
#[ignore = "needs Go"]
fn plain_manifests_are_what_the_chart_renders() {
    for (variant, folder) in VARIANTS {
        let Some(folder) = folder else { continue };
        let folder = deploy().join("manifests").join(folder);
        let rendered = files(&render(variant));
        let mut there: Vec<String> = std::fs::read_dir(&folder)
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_else(|_| Vec::<PathBuf>::new())
            .into_iter()
            .filter(|path| path.is_file())
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        there.sort();
        if std::env::var_os(UPDATE).is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            for (name, text) in &rendered {
                std::fs::write(folder.join(name), text).unwrap();
            }
            continue;
        }
        assert_eq!(
            there,
            rendered.keys().cloned().collect::<Vec<_>>(),
            "{variant}"
        );
        for (name, text) in rendered {
            let written = std::fs::read_to_string(folder.join(&name)).unwrap();
            assert!(
                written == text,
                "{variant}: {name} differs; {UPDATE}=1 writes it anew"
            );
        }
    }
}

#[test]
#[ignore = "needs Go"]
fn what_would_not_do_what_it_says_is_refused() {
    for (values, word) in REFUSED {
        let refusal = template(&["--set".to_owned(), values.to_owned()]).unwrap_err();
        assert!(refusal.contains(word), "{values}: {refusal}");
    }
}

/// The configuration in every ConfigMap of the plain manifests.
#[test]
fn nicproxy_reads_the_configuration_of_the_config_maps() {
    for folder in ["", "central", "monitoring"] {
        let path = deploy().join("manifests").join(folder).join("config.yaml");
        let map = std::fs::read_to_string(path).unwrap();
        let map: serde_json::Value = serde_saphyr::from_str(&map).unwrap();
        let text = map["data"]["config.yaml"].as_str().unwrap();
        let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
        std::fs::write(file.path(), text).unwrap();
        let config = Config::read(file.path()).unwrap();
        config.validate().unwrap();
        assert_eq!(config.ports.len(), 2);
    }
}
