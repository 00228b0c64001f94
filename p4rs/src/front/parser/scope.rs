//! Which names are types, at the point that the parser has reached.
//!
//! In: declarations in order. Out: whether a name means a type here. Invariant: the outermost scope is never left.

use std::sync::Arc;

use rustc_hash::FxHashMap;

/// The scopes that are open, the innermost last.
pub(super) struct Scopes {
    open: Vec<FxHashMap<Arc<str>, Meaning>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Type,
    Object,
}

impl Scopes {
    pub fn new() -> Self {
        Self {
            open: vec![FxHashMap::default()],
        }
    }

    /// Opens a scope.
    pub fn enter(&mut self) {
        self.open.push(FxHashMap::default());
    }

    /// Closes all scopes but the outermost.
    pub fn back_to_global(&mut self) {
        self.open.truncate(1);
    }

    /// How many scopes are open.
    pub fn level(&self) -> usize {
        self.open.len()
    }

    /// Closes scopes until so many are open.
    pub fn back_to(&mut self, level: usize) {
        self.open.truncate(level.max(1));
    }

    pub fn declare_type(&mut self, name: &Arc<str>) {
        self.declare(name, Meaning::Type);
    }

    pub fn declare_object(&mut self, name: &Arc<str>) {
        self.declare(name, Meaning::Object);
    }

    fn declare(&mut self, name: &Arc<str>, meaning: Meaning) {
        if let Some(scope) = self.open.last_mut() {
            scope.insert(name.clone(), meaning);
        }
    }

    pub fn is_type(&self, name: &str) -> bool {
        self.open.iter().rev().find_map(|scope| scope.get(name)) == Some(&Meaning::Type)
    }

    pub fn is_global_type(&self, name: &str) -> bool {
        self.open.first().and_then(|scope| scope.get(name)) == Some(&Meaning::Type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_names_hide_outer_ones() {
        let mut scopes = Scopes::new();
        let name: Arc<str> = "T".into();
        scopes.declare_type(&name);
        scopes.enter();
        assert!(scopes.is_type("T"));
        scopes.declare_object(&name);
        assert!(!scopes.is_type("T") && scopes.is_global_type("T"));
        scopes.back_to(1);
        scopes.back_to(0);
        assert!(scopes.is_type("T"));
        assert!(!scopes.is_type("U"));
    }
}
