//! Events on Services, through the API server.
//!
//! In: warnings. Out: `events.k8s.io/v1` objects on the Service, with its uid, so that `kubectl describe` shows them.
//! Repetitions become one event with a count. Needs `create` and `patch` of events and `get` of services. An API server
//! that refuses costs a log line, nothing else.

use k8s_openapi::api::core::v1::Service;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::telemetry::events::Warning;

/// Who reports: the name that events carry.
const CONTROLLER: &str = "nicproxy";
/// Longest note that the API server takes, in bytes.
const LONGEST_NOTE: usize = 1024;

/// Sends warnings until cancelled or until nobody warns any more.
pub async fn run(
    client: Client,
    node: String,
    mut warnings: mpsc::Receiver<Warning>,
    cancel: CancellationToken,
) {
    let reporter = Reporter {
        controller: CONTROLLER.to_owned(),
        instance: (!node.is_empty()).then_some(node),
    };
    let recorder = Recorder::new(client.clone(), reporter);
    loop {
        let warning = tokio::select! {
            () = cancel.cancelled() => return,
            warning = warnings.recv() => match warning {
                Some(warning) => warning,
                None => return,
            },
        };
        let told = tokio::select! {
            () = cancel.cancelled() => return,
            told = tell(&client, &recorder, &warning) => told,
        };
        if let Err(error) = told {
            tracing::warn!(service = %warning.service, %error, "an event cannot be recorded");
        }
    }
}

async fn tell(client: &Client, recorder: &Recorder, warning: &Warning) -> Result<(), kube::Error> {
    let services = Api::<Service>::namespaced(client.clone(), &warning.service.namespace);
    let Some(service) = services.get_opt(&warning.service.name).await? else {
        return Ok(());
    };
    let event = Event {
        type_: EventType::Warning,
        reason: warning.reason.to_owned(),
        note: Some(shortened(&warning.note)),
        action: "Programming".to_owned(),
        secondary: None,
    };
    recorder.publish(&event, &service.object_ref(&())).await
}

fn shortened(note: &str) -> String {
    note[..note.floor_char_boundary(LONGEST_NOTE)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_fit() {
        assert_eq!(shortened("short"), "short");
        let long = "ä".repeat(LONGEST_NOTE);
        assert_eq!(shortened(&long).len(), LONGEST_NOTE);
        let odd = format!("x{long}");
        assert_eq!(shortened(&odd).len(), LONGEST_NOTE - 1);
    }
}
