//! Real files in a temporary folder.

use std::fs;
use std::time::{Duration, Instant};

use super::*;
use crate::model::{Event, Model, ObjectKey};

/// Longer than any change may take; a test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(10);

struct Watched {
    folder: tempfile::TempDir,
    _source: ManifestSource,
    notices: mpsc::Receiver<Notice>,
    heard: std::collections::VecDeque<Notice>,
    model: Model,
}

fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: 10.0.0.1, ports: [{{port: {port}}}]}}\n"
    )
}

impl Watched {
    async fn start(files: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self::of(folder, |folder| folder.to_owned()).await
    }

    async fn of(folder: tempfile::TempDir, path: impl Fn(&Path) -> PathBuf) -> Self {
        let (sender, notices) = crate::watch::channel();
        let source = ManifestSource::start(&path(folder.path()), sender).unwrap();
        let mut watched = Self {
            folder,
            _source: source,
            notices,
            heard: Default::default(),
            model: Model::new(),
        };
        watched
            .until(|notice| matches!(notice, Notice::Synced))
            .await;
        watched
    }

    /// Takes notices in until one fits.
    async fn until(&mut self, fits: impl Fn(&Notice) -> bool) -> Notice {
        loop {
            let Some(notice) = self.heard.pop_front() else {
                match tokio::time::timeout(DEADLINE, self.notices.recv())
                    .await
                    .expect("in time")
                    .expect("running")
                {
                    Notice::Together(several) => self.heard.extend(several),
                    notice => self.heard.push_back(notice),
                }
                continue;
            };
            if let Notice::Cluster(event) = &notice {
                self.model.apply(event.clone());
            }
            if fits(&notice) {
                return notice;
            }
        }
    }

    async fn until_port(&mut self, name: &str, port: Option<u16>) {
        let key = ObjectKey::new("default", name);
        while self.port(&key) != port {
            self.until(|_| true).await;
        }
    }

    fn port(&self, key: &ObjectKey) -> Option<u16> {
        self.model
            .service(key)
            .and_then(|service| service.ports.first())
            .map(|port| port.port)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }
}

#[tokio::test]
async fn files_come_change_and_go() {
    let mut watched = Watched::start(&[
        ("a.yaml", service("a", 80)),
        ("notes.txt", service("no", 1)),
    ])
    .await;
    assert_eq!(watched.model.services().len(), 1);
    watched.write("b.yml", &service("b", 81));
    watched.until_port("b", Some(81)).await;
    watched.write("a.yaml", &service("a", 8080));
    watched.until_port("a", Some(8080)).await;
    let started = Instant::now();
    fs::remove_file(watched.folder.path().join("b.yml")).unwrap();
    watched.until_port("b", None).await;
    assert!(started.elapsed() < DEADLINE);
    fs::create_dir(watched.folder.path().join("more")).unwrap();
    // The watch of the new folder is set up beside us: write until it is noticed.
    watched.write("more/c.json", r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"c"},"spec":{"ports":[{"port":7}]}}"#);
    watched.until_port("c", Some(7)).await;
    assert_eq!(watched.model.services().len(), 2);
}

#[tokio::test]
async fn a_mistake_keeps_what_the_file_said_before() {
    let mut watched =
        Watched::start(&[("a.yaml", service("a", 80)), ("b.yaml", service("b", 80))]).await;
    watched.write(
        "a.yaml",
        &format!("{}---\nkind: Service\nspec: [\n", service("a", 81)),
    );
    watched.write("b.yaml", &service("b", 82));
    watched.until_port("b", Some(82)).await;
    assert_eq!(watched.port(&ObjectKey::new("default", "a")), Some(80));
    watched.write("a.yaml", &service("a", 83));
    watched.until_port("a", Some(83)).await;
}

#[tokio::test]
async fn a_mistake_at_start_leaves_the_other_files_alone() {
    let watched = Watched::start(&[
        ("a.yaml", "kind: [".to_owned()),
        ("b.yaml", service("b", 80)),
    ])
    .await;
    assert_eq!(watched.model.services().len(), 1);
}

#[tokio::test]
async fn the_last_file_counts_and_the_one_before_shows_again() {
    let mut watched =
        Watched::start(&[("1.yaml", service("a", 1)), ("2.yaml", service("a", 2))]).await;
    let key = ObjectKey::new("default", "a");
    assert_eq!(watched.port(&key), Some(2));
    fs::remove_file(watched.folder.path().join("2.yaml")).unwrap();
    watched.until_port("a", Some(1)).await;
}

#[tokio::test]
async fn an_object_that_moves_between_files_is_not_deleted() {
    let mut watched = Watched::start(&[("1.yaml", service("a", 1))]).await;
    fs::rename(
        watched.folder.path().join("1.yaml"),
        watched.folder.path().join("2.yaml"),
    )
    .unwrap();
    let notice = watched.until(|_| true).await;
    assert!(
        matches!(notice, Notice::Cluster(Event::ApplyService(_))),
        "{notice:?}"
    );
}

#[tokio::test]
async fn one_file_replaced_as_editors_do() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), service("a", 80)).unwrap();
    fs::write(folder.path().join("other.yaml"), service("other", 80)).unwrap();
    let mut watched = Watched::of(folder, |folder| folder.join("a.yaml")).await;
    assert_eq!(
        watched.model.services().len(),
        1,
        "only the file that was named"
    );
    watched.write("a.tmp", &service("a", 90));
    fs::rename(
        watched.folder.path().join("a.tmp"),
        watched.folder.path().join("a.yaml"),
    )
    .unwrap();
    watched.until_port("a", Some(90)).await;
}

#[tokio::test]
async fn a_folder_that_goes_away_keeps_everything() {
    let mut watched = Watched::start(&[("a.yaml", service("a", 80))]).await;
    let path = watched.folder.path().to_owned();
    let away = path.with_extension("away");
    fs::rename(&path, &away).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("b.yaml"), service("b", 80)).unwrap();
    fs::write(path.join("a.yaml"), service("a", 81)).unwrap();
    fs::remove_dir_all(&away).unwrap();
    watched.until_port("b", Some(80)).await;
    watched.until_port("a", Some(81)).await;
}

#[tokio::test]
async fn nothing_there_says_what_to_do() {
    let (sender, _notices) = crate::watch::channel();
    let error = ManifestSource::start(Path::new("/no/such/folder"), sender).unwrap_err();
    assert!(error.to_string().contains("--manifests"), "{error}");
}
