//! Which files there are, what each of them gave, and what a change of files means for the objects.
//!
//! In: the paths that something happened to. Out: notices. Objects themselves are not kept here, only whose they are.
//! Invariant: an object that several files give is the one of the last file in order of path; if that goes away, the
//! one before it shows again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::super::Notice;
use super::ManifestError;
use super::document::{self, Object};
use crate::model::{Event, ObjectKey};

/// Identity of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Node(Arc<str>),
    ServiceCidr(Arc<str>),
    Pod(ObjectKey),
    Service(ObjectKey),
    Slice(ObjectKey),
}

/// What tells a file's content from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

#[derive(Debug)]
struct Known {
    stamp: Stamp,
    keys: BTreeSet<Key>,
    broken: bool,
}

/// The files below a root.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    files: BTreeMap<PathBuf, Known>,
    owners: BTreeMap<Key, BTreeSet<PathBuf>>,
}

impl Folder {
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            files: BTreeMap::new(),
            owners: BTreeMap::new(),
        }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Everything there is, as complete lists.
    pub fn first(&mut self) -> Vec<Notice> {
        let found = match list(&self.root) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "starting without objects");
                BTreeMap::new()
            }
        };
        let mut objects = BTreeMap::new();
        for (path, stamp) in found {
            let read = self.read(&path, stamp).unwrap_or_default();
            for (key, object) in read {
                self.own(&path, &key);
                objects.insert(key, object);
            }
        }
        let (mut services, mut slices, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
        let (mut service_cidrs, mut pods) = (Vec::new(), Vec::new());
        for object in objects.into_values() {
            match object {
                Object::Service(service) => services.push(service),
                Object::Slice(slice) => slices.push(slice),
                Object::Node(node) => nodes.push(node),
                Object::ServiceCidr(range) => service_cidrs.push(range),
                Object::Pod(pod) => pods.push(pod),
            }
        }
        self.report_broken();
        let lists = [
            Event::ReplaceNodes(nodes),
            Event::ReplaceServiceCidrs(service_cidrs),
            Event::ReplacePods(pods),
            Event::ReplaceServices(services),
            Event::ReplaceSlices(slices),
        ];
        lists
            .map(Notice::Cluster)
            .into_iter()
            .chain([Notice::Synced])
            .collect()
    }

    /// What changed since the last look. `touched` are read even if they look the same.
    ///
    /// # Errors
    /// When the root cannot be listed; nothing has changed then.
    pub fn rescan(&mut self, touched: &[PathBuf]) -> Result<Vec<Notice>, ManifestError> {
        let found = list(&self.root)?;
        let mut gone = BTreeSet::new();
        let mut applied = BTreeMap::new();
        let vanished: Vec<_> = self
            .files
            .keys()
            .filter(|path| !found.contains_key(*path))
            .cloned()
            .collect();
        for path in vanished {
            if let Some(known) = self.files.remove(&path) {
                self.disown(&path, known.keys, &mut gone);
            }
        }
        for (path, stamp) in found {
            let same = self
                .files
                .get(&path)
                .is_some_and(|known| known.stamp == stamp);
            if same && !touched.contains(&path) {
                continue;
            }
            let before = self
                .files
                .get(&path)
                .map(|known| known.keys.clone())
                .unwrap_or_default();
            let Some(objects) = self.read(&path, stamp) else {
                continue;
            };
            let lost = before
                .into_iter()
                .filter(|key| !objects.contains_key(key))
                .collect();
            self.disown(&path, lost, &mut gone);
            for (key, object) in objects {
                gone.remove(&key);
                if self.own(&path, &key) {
                    applied.insert(key, object);
                }
            }
        }
        self.show_again(&mut gone, &mut applied);
        self.report_broken();
        let mut notices = Vec::new();
        for object in applied.into_values() {
            notices.push(Notice::Cluster(match object {
                Object::Service(service) => Event::ApplyService(service),
                Object::Slice(slice) => Event::ApplySlice(slice),
                Object::Node(node) => Event::ApplyNode(node),
                Object::ServiceCidr(range) => Event::ApplyServiceCidr(range),
                Object::Pod(pod) => Event::ApplyPod(pod),
            }));
        }
        notices.extend(gone.into_iter().map(|key| {
            Notice::Cluster(match key {
                Key::Service(key) => Event::DeleteService(key),
                Key::Slice(key) => Event::DeleteSlice(key),
                Key::Node(name) => Event::DeleteNode(name),
                Key::ServiceCidr(name) => Event::DeleteServiceCidr(name),
                Key::Pod(key) => Event::DeletePod(key),
            })
        }));
        Ok(notices)
    }

    /// Objects of a file by key; `None` if it has a mistake, and then it keeps what it gave before.
    fn read(&mut self, path: &Path, stamp: Stamp) -> Option<BTreeMap<Key, Object>> {
        let read = read_file(path);
        let known = self.files.entry(path.to_owned()).or_insert(Known {
            stamp: stamp.clone(),
            keys: BTreeSet::new(),
            broken: false,
        });
        known.stamp = stamp;
        match read {
            Ok(objects) => {
                known.broken = false;
                known.keys = objects.keys().cloned().collect();
                Some(objects)
            }
            Err(error) => {
                known.broken = true;
                metrics::counter!("nicproxy_manifest_errors_total").increment(1);
                tracing::error!(
                    "{error}; mend the file: until then its earlier objects stay in force"
                );
                None
            }
        }
    }

    /// Notes that a file gives an object; true if it is this file's version that counts.
    fn own(&mut self, path: &Path, key: &Key) -> bool {
        let owners = self.owners.entry(key.clone()).or_default();
        owners.insert(path.to_owned());
        let counts = owners.last().is_some_and(|last| last == path);
        if owners.len() > 1 {
            let last = owners
                .last()
                .map(|last| last.display().to_string())
                .unwrap_or_default();
            tracing::warn!(object = ?key, "several files give this object; the one in {last} counts");
        }
        counts
    }

    /// Notes that a file gives these objects no more.
    fn disown(&mut self, path: &Path, keys: BTreeSet<Key>, gone: &mut BTreeSet<Key>) {
        for key in keys {
            if let Some(owners) = self.owners.get_mut(&key) {
                owners.remove(path);
            }
            gone.insert(key);
        }
    }

    /// Of the objects that lost a file, those that another file gives too.
    fn show_again(&mut self, gone: &mut BTreeSet<Key>, applied: &mut BTreeMap<Key, Object>) {
        let mut from: BTreeMap<PathBuf, Vec<Key>> = BTreeMap::new();
        gone.retain(|key| {
            match self.owners.get(key).and_then(BTreeSet::last) {
                Some(path) => from.entry(path.clone()).or_default().push(key.clone()),
                None => {
                    self.owners.remove(key);
                    return true;
                }
            }
            false
        });
        for (path, keys) in from {
            if let Ok(mut objects) = read_file(&path) {
                applied.extend(
                    keys.into_iter()
                        .filter_map(|key| objects.remove(&key).map(|object| (key, object))),
                );
            }
        }
    }

    fn report_broken(&self) {
        let broken = self.files.values().filter(|known| known.broken).count();
        metrics::gauge!("nicproxy_manifest_files_broken").set(broken as f64);
    }
}

/// A file that could not be taken.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}:{}: {}", path.display(), source.line, source.reason)]
    Document {
        path: PathBuf,
        source: document::DocumentError,
    },
}

fn read_file(path: &Path) -> Result<BTreeMap<Key, Object>, FileError> {
    let text = std::fs::read_to_string(path).map_err(|source| FileError::Read {
        path: path.to_owned(),
        source,
    })?;
    let objects = if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        document::read_json(&text)
    } else {
        document::read_yaml(&text)
    };
    let objects = objects.map_err(|source| FileError::Document {
        path: path.to_owned(),
        source,
    })?;
    let mut by_key = BTreeMap::new();
    for object in objects {
        let key = match &object {
            Object::Service(service) => Key::Service(service.key.clone()),
            Object::Slice(slice) => Key::Slice(slice.key.clone()),
            Object::Node(node) => Key::Node(node.name.clone()),
            Object::ServiceCidr(range) => Key::ServiceCidr(range.name.clone()),
            Object::Pod(pod) => Key::Pod(pod.key.clone()),
        };
        if by_key.insert(key.clone(), object).is_some() {
            tracing::warn!(object = ?key, file = %path.display(), "the file gives this object twice; the last counts");
        }
    }
    Ok(by_key)
}

/// Manifests below a root, or the root itself if it is a file.
fn list(root: &Path) -> Result<BTreeMap<PathBuf, Stamp>, ManifestError> {
    let mut found = BTreeMap::new();
    let error = |path: &Path, source| ManifestError::Read {
        path: path.to_owned(),
        source,
    };
    let metadata = std::fs::metadata(root).map_err(|source| error(root, source))?;
    if metadata.is_file() {
        found.insert(root.to_owned(), stamp(&metadata));
        return Ok(found);
    }
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(source) if folder == root => return Err(error(root, source)),
            // A folder below may go away while this runs.
            Err(_) => continue,
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            let Ok(metadata) = std::fs::metadata(&path) else {
                continue;
            };
            if hidden {
                continue;
            } else if metadata.is_file() && is_manifest(&path) {
                found.insert(path, stamp(&metadata));
            } else if metadata.is_dir() && !entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                folders.push(path);
            }
        }
    }
    Ok(found)
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"]
            .iter()
            .any(|known| extension == *known)
    })
}

fn stamp(metadata: &std::fs::Metadata) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    Stamp {
        modified: metadata.modified().ok(),
        length: metadata.len(),
        inode: metadata.ino(),
    }
}
