//! What is deployed is what the API server accepts and what nicproxy reads.

use nicproxy::config::Config;
use testbench::kubernetes::ApiServer;
use testbench::kubernetes::objects::Applier;
use tokio::runtime::Runtime;

use crate::daemon::assets;

const MANIFESTS: [(&str, &str); 3] = [
    (
        "rbac.yaml",
        include_str!("../../../controlplane/deploy/manifests/rbac.yaml"),
    ),
    (
        "config.yaml",
        include_str!("../../../controlplane/deploy/manifests/config.yaml"),
    ),
    (
        "daemonset.yaml",
        include_str!("../../../controlplane/deploy/manifests/daemonset.yaml"),
    ),
];

#[test]
#[ignore = "needs Go or KUBEBUILDER_ASSETS"]
fn the_api_server_accepts_the_manifests() {
    Runtime::new().unwrap().block_on(async {
        let api = ApiServer::start(assets()).await.unwrap();
        let applier = Applier::new(api.client().await.unwrap())
            .await
            .unwrap()
            .dry_run();
        for (name, text) in MANIFESTS {
            applier
                .apply(text)
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    });
}

#[test]
fn nicproxy_reads_the_configuration_of_the_config_map() {
    let map: serde_json::Value = serde_saphyr::from_str(MANIFESTS[1].1).unwrap();
    let text = map["data"]["config.yaml"].as_str().unwrap();
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    std::fs::write(file.path(), text).unwrap();
    let config = Config::read(file.path()).unwrap();
    config.validate().unwrap();
    assert_eq!(config.ports.len(), 2);
}
