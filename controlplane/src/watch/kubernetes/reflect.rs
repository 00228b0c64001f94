//! One kind of object, listed and then followed.
//!
//! In: an API server, which objects are wanted. Out: the whole list, then every change, for ever; a list again where the
//! server no longer has what came in between. Errors are told and tried again by whoever asks for the next event.
//!
//! ```text
//! list ──▶ watch from the list's version ──▶ the stream ended: watch from the last version
//!   ▲                                  └──▶ 410: too much has happened ─┐
//!   └───────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Invariant: versions never go back: a later list is at least as new as the last change, unless the server has lost that.

#[cfg(test)]
mod tests;

use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use hyper::http::header::{ACCEPT, CONTENT_TYPE};
use hyper::http::{HeaderValue, Response};
use kube::api::{ListParams, ObjectList, Request, VersionMatch, WatchEvent, WatchParams};
use kube::core::Status;
use kube::{Api, Client, ResourceExt};

use super::protobuf::{ListReader, Malformed};
use super::{Watched, read};

/// How long the server lets a watch last before it has to be asked for again.
const WATCH: Duration = Duration::from_secs(290);
/// How much longer a watch is believed to be alive.
const LATE: Duration = Duration::from_secs(5);
/// How long the next part of a list may take; API servers give a whole request a minute.
const LIST: Duration = Duration::from_secs(90);
/// What is understood, the quickest first.
const UNDERSTOOD: &str = "application/vnd.kubernetes.protobuf, application/json";
/// The type of the first.
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// Any version the server has at hand: what every proxy and kubelet starts with.
const ANY: &str = "0";
/// The code of what is no longer there.
const GONE: u16 = 410;

/// What happened.
#[derive(Debug)]
pub(super) enum Event<K: Watched> {
    /// These are all.
    Listed(Vec<K::Object>),
    /// One is new, or another than before.
    Applied(K::Object),
    /// One is gone.
    Deleted(K::Object),
}

/// Why there is no next event yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReflectError {
    /// The API server refused, or did not answer.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// The list did not go on.
    #[error("the list did not go on for {LIST:?}")]
    Stalled,
    /// The list is not what was asked for.
    #[error(transparent)]
    List(#[from] Malformed),
    /// The list does not say from where to go on.
    #[error("the list has no version")]
    NoVersion,
    /// The server ends a watch with an error.
    #[error("the watch ended: {} ({})", .0.message, .0.code)]
    Ended(Box<Status>),
}

impl ReflectError {
    fn code(&self) -> Option<u16> {
        match self {
            Self::Api(kube::Error::Api(status)) | Self::Ended(status) => Some(status.code),
            _ => None,
        }
    }
}

/// Which objects are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    pub labels: Option<String>,
    pub fields: Option<String>,
}

enum State<K> {
    /// At least this version; none: the newest there is.
    List(Option<String>),
    Watch(String),
    Watching(
        String,
        BoxStream<'static, Result<WatchEvent<K>, kube::Error>>,
    ),
}

struct Reflector<K> {
    client: Client,
    api: Api<K>,
    selection: Selection,
    state: State<K>,
}

/// Lists and follows a kind of object.
pub(super) fn reflect<K: Watched>(
    client: &Client,
    selection: Selection,
) -> impl Stream<Item = Result<Event<K>, ReflectError>> + Send + 'static {
    let reflector = Reflector {
        client: client.clone(),
        api: Api::all(client.clone()),
        selection,
        state: State::List(Some(ANY.to_owned())),
    };
    futures::stream::unfold(reflector, |mut reflector: Reflector<K>| async move {
        let event = reflector.next().await;
        Some((event, reflector))
    })
}

impl<K: Watched> Reflector<K> {
    async fn next(&mut self) -> Result<Event<K>, ReflectError> {
        loop {
            match &mut self.state {
                State::List(version) => {
                    let version = version.clone();
                    let listed = list::<K>(&self.client, &self.selection, version.as_deref()).await;
                    if listed.is_err() && version.as_deref() != Some(ANY) {
                        // The server may have forgotten the version, or not know it after it was restored: it is
                        // slow to say so.
                        self.state = State::List(None);
                    }
                    let (objects, version) = listed?;
                    self.state = State::Watch(version);
                    return Ok(Event::Listed(objects));
                }
                State::Watch(version) => {
                    let params = self.selection.watch();
                    match self.api.watch(&params, version).await {
                        Ok(stream) => {
                            let version = std::mem::take(version);
                            self.state = State::Watching(version, stream.boxed());
                        }
                        Err(error) => return Err(self.failed(error.into())),
                    }
                }
                State::Watching(version, stream) => {
                    let next = tokio::time::timeout(WATCH + LATE, stream.next()).await;
                    match next {
                        // A watch that is as silent as that is dead.
                        Ok(None) | Err(_) => self.state = State::Watch(std::mem::take(version)),
                        Ok(Some(Ok(WatchEvent::Bookmark(mark)))) => {
                            *version = mark.metadata.resource_version;
                        }
                        Ok(Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)))) => {
                            advance(version, &object);
                            if let Some(object) = read(&object) {
                                return Ok(Event::Applied(object));
                            }
                        }
                        Ok(Some(Ok(WatchEvent::Deleted(object)))) => {
                            advance(version, &object);
                            if let Some(object) = read(&object) {
                                return Ok(Event::Deleted(object));
                            }
                        }
                        Ok(Some(Ok(WatchEvent::Error(status)))) => {
                            let error = ReflectError::Ended(status);
                            return Err(self.failed(error));
                        }
                        Ok(Some(Err(error))) => return Err(self.failed(error.into())),
                    }
                }
            }
        }
    }

    /// From where to go on after a watch has failed.
    fn failed(&mut self, error: ReflectError) -> ReflectError {
        let (State::Watch(version) | State::Watching(version, _)) = &mut self.state else {
            return error;
        };
        let version = std::mem::take(version);
        self.state = match error.code() {
            Some(GONE) => State::List(Some(version)),
            _ => State::Watch(version),
        };
        error
    }
}

fn advance<K: kube::Resource>(version: &mut String, object: &K) {
    if let Some(newer) = object.resource_version().filter(|text| !text.is_empty()) {
        *version = newer;
    }
}

impl Selection {
    fn list(&self, version: Option<&str>) -> ListParams {
        ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            resource_version: version.map(str::to_owned),
            version_match: version.map(|_| VersionMatch::NotOlderThan),
            ..ListParams::default()
        }
    }

    fn watch(&self) -> WatchParams {
        WatchParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            timeout: u32::try_from(WATCH.as_secs()).ok(),
            bookmarks: true,
            send_initial_events: false,
        }
    }
}

/// All objects, and the version that they are of: read while they arrive, so that no list is there as a whole.
async fn list<K: Watched>(
    client: &Client,
    selection: &Selection,
    version: Option<&str>,
) -> Result<(Vec<K::Object>, String), ReflectError> {
    let path = K::url_path(&K::DynamicType::default(), None);
    let request = Request::new(path).list(&selection.list(version));
    let mut request = request.map_err(kube::Error::BuildRequest)?;
    let understood = HeaderValue::from_static(UNDERSTOOD);
    request.headers_mut().insert(ACCEPT, understood);
    let answer = patient(client.send(request.map(kube::client::Body::from))).await??;
    let answer = accepted(answer).await?;
    let kind = answer.headers().get(CONTENT_TYPE);
    let is_protobuf = kind.is_some_and(|kind| kind.as_bytes().starts_with(PROTOBUF.as_bytes()));
    let mut body = answer.into_body().into_data_stream();
    let mut objects = Vec::new();
    let version = if is_protobuf {
        let mut reader = ListReader::<K::Wire>::new();
        while let Some(part) = patient(body.try_next()).await?? {
            reader.take(&part, |object| objects.extend(read(&object)))?;
        }
        if !reader.is_whole() {
            return Err(Malformed::Short.into());
        }
        reader.meta.resource_version
    } else {
        let mut text = Vec::new();
        while let Some(part) = patient(body.try_next()).await?? {
            text.extend_from_slice(&part);
        }
        let list: ObjectList<K> = serde_json::from_slice(&text).map_err(kube::Error::SerdeError)?;
        objects.extend(list.items.iter().filter_map(read));
        list.metadata.resource_version.unwrap_or_default()
    };
    match version.is_empty() {
        true => Err(ReflectError::NoVersion),
        false => Ok((objects, version)),
    }
}

async fn patient<T>(future: impl Future<Output = T>) -> Result<T, ReflectError> {
    let outcome = tokio::time::timeout(LIST, future).await;
    outcome.map_err(|_| ReflectError::Stalled)
}

/// The answer, or the error that it says.
async fn accepted(
    answer: Response<kube::client::Body>,
) -> Result<Response<kube::client::Body>, ReflectError> {
    let code = answer.status();
    if !code.is_client_error() && !code.is_server_error() {
        return Ok(answer);
    }
    let body = patient(answer.into_body().collect()).await??.to_bytes();
    let status = serde_json::from_slice::<Status>(&body).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(&body);
        Status::failure(text.trim(), "no reason given").with_code(code.as_u16())
    });
    Err(kube::Error::Api(status.boxed()).into())
}
