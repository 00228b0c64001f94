//! A value made from files, made anew when one of them says something else.
//!
//! In: paths, and how to make the value. Out: the value of what the files say now; that of what they said last, while
//! they say nothing that can be used.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{TlsError, read};

/// The files' contents, in the order of the paths.
pub(super) type Contents = Vec<Vec<u8>>;

type Make<T> = Box<dyn Fn(&Contents) -> Result<T, TlsError> + Send + Sync>;

/// A value and the files it is from.
pub(super) struct Fresh<T> {
    paths: Vec<PathBuf>,
    make: Make<T>,
    last: Mutex<Option<(Contents, Arc<T>)>>,
}

impl<T> Fresh<T> {
    /// Nothing is read yet.
    pub fn new(
        paths: Vec<PathBuf>,
        make: impl Fn(&Contents) -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            paths,
            make: Box::new(make),
            last: Mutex::new(None),
        }
    }

    /// The value. Reads the files; they are small, and connections are few.
    ///
    /// # Errors
    /// When the files cannot be used and never could.
    pub fn get(&self) -> Result<Arc<T>, TlsError> {
        let mut last = self.last.lock();
        let contents: Result<Contents, TlsError> =
            self.paths.iter().map(|path| read(path)).collect();
        let made = contents.and_then(|contents| match &*last {
            // Contents, not times: a clock may stand, a link may be turned.
            Some((known, value)) if *known == contents => Ok(value.clone()),
            before => {
                let value = Arc::new((self.make)(&contents)?);
                if before.is_some() {
                    tracing::info!(files = ?self.paths, "new certificates for new connections");
                }
                *last = Some((contents, value.clone()));
                Ok(value)
            }
        });
        match (made, &*last) {
            (Ok(value), _) => Ok(value),
            (Err(error), Some((_, value))) => {
                tracing::warn!(%error, "new connections are made with the former certificates");
                Ok(value.clone())
            }
            (Err(error), None) => Err(error),
        }
    }
}
