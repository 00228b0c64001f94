//! Objects through the real API: manifests as a user applies them, and synthetic clusters, many at a time.
//!
//! In: a client, YAML documents. Out: objects that the API server holds, validated and defaulted by it.

use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::discovery::{ApiResource, Scope};
use kube::{Api, Client, Discovery};

use crate::cluster::Shape;

/// Requests under way at one time.
const AT_ONCE: usize = 64;
/// Attempts to create an object; between two passes twice the time that passed before.
const ATTEMPTS: usize = 8;
/// Between two looks.
const LOOK: std::time::Duration = std::time::Duration::from_millis(20);
/// Who owns the fields.
const MANAGER: &str = "testbench";

/// Why an object is not there.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// Not YAML, or no object.
    #[error("a manifest: {0}")]
    Manifest(String),
    /// The API server knows no such kind.
    #[error("the API server has no kind {0}")]
    Kind(String),
    /// The API server refuses.
    #[error("{name}: {source}")]
    Api {
        /// Kind, namespace and name.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The API server does not answer.
    #[error(transparent)]
    Client(#[from] kube::Error),
}

/// Applies objects by server-side apply.
#[derive(Clone)]
pub struct Applier {
    client: Client,
    discovery: std::sync::Arc<Discovery>,
    dry_run: bool,
}

impl Applier {
    /// Learns what kinds the API server has.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn new(client: Client) -> Result<Self, ObjectsError> {
        let discovery = std::sync::Arc::new(Discovery::new(client.clone()).run().await?);
        Ok(Self {
            client,
            discovery,
            dry_run: false,
        })
    }

    /// The API server checks what is applied, and keeps nothing.
    #[must_use]
    pub fn dry_run(self) -> Self {
        Self {
            dry_run: true,
            ..self
        }
    }

    /// Applies every document of a YAML stream, in order; what has a status gets that too.
    ///
    /// # Errors
    /// At the first that is refused.
    pub async fn apply(&self, manifests: &str) -> Result<Vec<DynamicObject>, ObjectsError> {
        let mut applied = Vec::new();
        for value in documents(manifests)? {
            applied.push(self.apply_one(value).await?);
        }
        Ok(applied)
    }

    /// Deletes every object that a YAML stream names; one that is not there is no failure.
    ///
    /// # Errors
    /// At the first that is refused.
    pub async fn delete(&self, manifests: &str) -> Result<(), ObjectsError> {
        for value in documents(manifests)? {
            let (api, object) = self.api(value)?;
            let name = object.metadata.name.clone().unwrap_or_default();
            match api.delete(&name, &Default::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(source) => return Err(failed(&object, source)),
            }
        }
        Ok(())
    }

    /// Waits until every custom resource that was defined can be used.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn established(&self) -> Result<(), ObjectsError> {
        let (resource, _) = self.kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")?;
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        loop {
            let all = api.list(&Default::default()).await?;
            let is = |object: &DynamicObject| {
                let conditions = object.data["status"]["conditions"].as_array();
                conditions.into_iter().flatten().any(|condition| {
                    condition["type"] == "Established" && condition["status"] == "True"
                })
            };
            if all.iter().all(is) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Creates every document of a YAML stream, in order: for what is not there yet, cheaper than to apply it. A server under
    /// load refuses what it takes a moment later: a cluster IP, for instance, while its own first attempt still holds it.
    ///
    /// # Errors
    /// At the first that is refused several times.
    pub async fn create(&self, manifests: &str) -> Result<(), ObjectsError> {
        for value in documents(manifests)? {
            let (api, object) = self.api(value)?;
            let mut wait = LOOK;
            for attempt in 1.. {
                match api.create(&PostParams::default(), &object).await {
                    Ok(_) => break,
                    // The attempt before did it after all.
                    Err(kube::Error::Api(status)) if status.code == 409 && attempt > 1 => break,
                    Err(kube::Error::Api(_)) if attempt < ATTEMPTS => {
                        tokio::time::sleep(wait).await;
                        wait *= 2;
                    }
                    Err(source) => return Err(failed(&object, source)),
                }
            }
        }
        Ok(())
    }

    /// Creates the Services of a synthetic cluster from one number on, many requests at a time. `progress` is told how many
    /// are there, after each of them.
    ///
    /// # Errors
    /// At the first that is refused.
    pub async fn populate(
        &self,
        shape: Shape,
        from: usize,
        mut progress: impl FnMut(usize),
    ) -> Result<(), ObjectsError> {
        let mut created = stream::iter((from..shape.services).map(|service| {
            let applier = self.clone();
            async move { applier.create(&shape.service(service)).await }
        }))
        .buffer_unordered(AT_ONCE);
        let mut done = from;
        while let Some(()) = created.try_next().await? {
            done += 1;
            progress(done);
        }
        Ok(())
    }

    async fn apply_one(&self, mut value: serde_json::Value) -> Result<DynamicObject, ObjectsError> {
        // The status is no business of apply; a node's dual-stack addresses even have one key twice.
        let status = value
            .as_object_mut()
            .and_then(|object| object.remove("status"));
        let (api, object) = self.api(value)?;
        let name = object.metadata.name.clone().unwrap_or_default();
        let mut params = PatchParams::apply(MANAGER).force();
        params.dry_run = self.dry_run;
        let applied = api
            .patch(&name, &params, &Patch::Apply(&object))
            .await
            .map_err(|source| failed(&object, source))?;
        let Some(status) = status.filter(|_| !self.dry_run) else {
            return Ok(applied);
        };
        api.patch_status(
            &name,
            &PatchParams::default(),
            &Patch::Merge(serde_json::json!({ "status": status })),
        )
        .await
        .map_err(|source| failed(&object, source))
    }

    fn api(
        &self,
        value: serde_json::Value,
    ) -> Result<(Api<DynamicObject>, DynamicObject), ObjectsError> {
        let object: DynamicObject = serde_json::from_value(value)
            .map_err(|error| ObjectsError::Manifest(error.to_string()))?;
        let types = object.types.clone().unwrap_or_default();
        let (resource, scope) = self.kind(&types.api_version, &types.kind)?;
        let api = match (&object.metadata.namespace, scope) {
            (_, Scope::Cluster) => Api::all_with(self.client.clone(), &resource),
            (Some(namespace), Scope::Namespaced) => {
                Api::namespaced_with(self.client.clone(), namespace, &resource)
            }
            (None, Scope::Namespaced) => {
                Api::default_namespaced_with(self.client.clone(), &resource)
            }
        };
        Ok((api, object))
    }

    fn kind(&self, api_version: &str, kind: &str) -> Result<(ApiResource, Scope), ObjectsError> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        self.discovery
            .groups()
            .filter(|found| found.name() == group)
            .flat_map(|found| found.versioned_resources(version))
            .find(|(resource, _)| resource.kind == kind)
            .map(|(resource, capabilities)| (resource, capabilities.scope))
            .ok_or_else(|| ObjectsError::Kind(format!("{api_version} {kind}")))
    }
}

/// The documents of a YAML stream, empty ones left out.
fn documents(text: &str) -> Result<Vec<serde_json::Value>, ObjectsError> {
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| ObjectsError::Manifest(error.to_string()))?;
    Ok(documents
        .into_iter()
        .filter(|value| !value.is_null())
        .collect())
}

fn failed(object: &DynamicObject, source: kube::Error) -> ObjectsError {
    let types = object.types.clone().unwrap_or_default();
    let namespace = object.metadata.namespace.as_deref().unwrap_or("-");
    let name = object.metadata.name.as_deref().unwrap_or_default();
    ObjectsError::Api {
        name: format!("{} {namespace}/{name}", types.kind),
        source: Box::new(source),
    }
}
