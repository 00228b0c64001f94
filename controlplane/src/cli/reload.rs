//! The configuration file of a process that programs many NICs, read again when it changes.
//!
//! In: the arguments that the process was started with. Out: effective configurations, each different from the one before.
//! Invariant: what is wrong with the file costs nothing but a line in the log: the one before stays in force.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::args::RunArgs;
use crate::config::{Config, ConfigError};

/// How often the file is looked at. A mounted ConfigMap changes by a link, under which notices of changes are unreliable.
const LOOK: Duration = Duration::from_secs(1);

/// The file and what was last made of it.
pub struct Reload {
    args: RunArgs,
    text: Option<Vec<u8>>,
    current: Arc<Config>,
}

impl Reload {
    /// Of a process that runs with this configuration.
    pub fn new(args: RunArgs, current: Arc<Config>) -> Self {
        Self {
            args,
            text: None,
            current,
        }
    }

    /// The next configuration. May be cancelled.
    pub async fn changed(&mut self) -> Arc<Config> {
        let Some(path) = self.args.config.clone() else {
            // The map of NICs came from nowhere else: this does not happen.
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(LOOK).await;
            if let Some(config) = self.look(&path) {
                return config;
            }
        }
    }

    fn look(&mut self, path: &Path) -> Option<Arc<Config>> {
        // A file that is being replaced is there the next time.
        let text = std::fs::read(path).ok()?;
        if self.text.as_ref() == Some(&text) {
            return None;
        }
        self.text = Some(text);
        match self.read() {
            Ok(config) if config == *self.current => None,
            Ok(config) => {
                tracing::info!("the configuration changed");
                self.current = Arc::new(config);
                Some(self.current.clone())
            }
            Err(error) => {
                tracing::error!("the configuration changed, but stays as it was: {error}");
                None
            }
        }
    }

    /// What the file says now, but for what the process cannot change while it runs.
    fn read(&self) -> Result<Config, ConfigError> {
        let mut config = self.args.effective()?;
        let now = &*self.current;
        let mut fixed = Vec::new();
        if config.nics.is_none() {
            fixed.push("nics: it has to be there");
            config.nics.clone_from(&now.nics);
        }
        if config.proxy_name != now.proxy_name {
            fixed.push("proxy_name");
            config.proxy_name.clone_from(&now.proxy_name);
        }
        if config.healthz_bind_address != now.healthz_bind_address {
            fixed.push("healthz_bind_address");
            config.healthz_bind_address = now.healthz_bind_address;
        }
        if config.metrics_bind_address != now.metrics_bind_address {
            fixed.push("metrics_bind_address");
            config.metrics_bind_address = now.metrics_bind_address;
        }
        for field in fixed {
            tracing::warn!(field, "takes effect after a restart only");
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }

    #[test]
    fn nics_come_and_go_and_a_mistake_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nics.yaml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        let one = "nics: {a: {device: {address: 'http://192.0.2.1:9559'}}}\n";
        write(one);
        let args = ["nicproxy", "--config", path.to_str().unwrap()];
        let args = Line::parse_from(args).run;
        let first = args.effective().unwrap();
        let mut reload = Reload::new(args, Arc::new(first));
        assert_eq!(reload.look(&path), None);
        write(
            "nics: {a: {device: {address: 'http://192.0.2.1:9559'}}, b: {device: {address: nowhere}}}\n",
        );
        assert_eq!(reload.look(&path), None, "an address without a scheme");
        write("proxy_name: other\nnics: {b: {device: {address: 'http://192.0.2.2:9559'}}}\n");
        let next = reload.look(&path).unwrap();
        let nics = next.each_nic().unwrap();
        assert_eq!(nics.keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(next.proxy_name, "", "not while it runs");
        assert_eq!(reload.look(&path), None);
        write("mtu: 1400\n");
        let next = reload.look(&path).unwrap();
        assert_eq!(next.mtu, 1400);
        assert!(next.nics.is_some(), "the mode stays");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(reload.look(&path), None);
    }
}
