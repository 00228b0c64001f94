//! Whose metrics are counted: the process's own, or those of one NIC of several.
//!
//! In: work that counts as if it were alone. Out: counts, kept per NIC, so that a NIC that leaves takes its series with
//! it. Invariant: in a process with one NIC the series are those that kube-proxy has, label for label.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusRecorder;

use super::metric;

tokio::task_local! {
    static CURRENT: Registry;
}

/// Where work counts.
#[derive(Clone, Default)]
pub struct Registry(Option<Arc<PrometheusRecorder>>);

impl Registry {
    /// A NIC's own, with the series that a NIC has from the start. The process's, if there can be none.
    pub fn of_nic() -> Self {
        let registry = Self(metric::recorder().map(Arc::new));
        if let Some(recorder) = &registry.0 {
            metrics::with_local_recorder(&**recorder, metric::begin_nic);
        }
        registry
    }

    /// Where the task that asks counts.
    pub fn current() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_default()
    }

    /// Does the work; what it counts between two awaits counts here.
    pub async fn scope<F: Future>(&self, work: F) -> F::Output {
        let Some(recorder) = &self.0 else {
            return work.await;
        };
        let mut work = pin!(CURRENT.scope(self.clone(), work));
        poll_fn(|context| metrics::with_local_recorder(&**recorder, || work.as_mut().poll(context)))
            .await
    }

    /// What was counted here, as text for a scrape; nothing if that is the process's.
    pub fn render(&self) -> String {
        let recorder = self.0.as_ref();
        recorder.map_or_else(String::new, |recorder| recorder.handle().render())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_counted_between_awaits_and_in_tasks_of_it_counts_there() {
        metric::install();
        let registry = Registry::of_nic();
        registry
            .scope(async {
                metric::probed(true, 299);
                tokio::task::yield_now().await;
                metric::probed(true, 299);
                let current = Registry::current();
                let task = async move { current.scope(async { metric::probed(true, 299) }).await };
                tokio::spawn(task).await.unwrap();
            })
            .await;
        Registry::default()
            .scope(async { metric::probed(true, 298) })
            .await;
        let livez = "kubeproxy_proxy_livez_total";
        let text = registry.render();
        assert!(
            text.contains(&format!("{livez}{{code=\"299\"}} 3")),
            "{text}"
        );
        assert!(!text.contains("298"), "{text}");
        assert_eq!(Registry::default().render(), "");
    }
}
