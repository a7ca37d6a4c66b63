//! Small sets of objects kept as the API server has them: policies, runs, the kill switch. They are
//! watched untyped, so that one that cannot be read is seen, named and isolated, and stalls nothing
//! (SAFE-17).

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use kube::{Resource, ResourceExt, api::ApiResource, core::DynamicObject, runtime::watcher::Event};
use serde::de::DeserializeOwned;

use super::watch::is_newer;

/// An object that could not be read.
#[derive(Debug, Clone)]
pub struct Malformed {
    /// As the API server has it.
    pub object: DynamicObject,
    /// Why it could not be read.
    pub error: String,
}

/// One object.
#[derive(Debug, Clone)]
pub enum Entry<K> {
    /// Readable.
    Good(Box<K>),
    /// Not readable.
    Malformed(Box<Malformed>),
}

/// The group, version, kind and plural of a type, for an untyped watch.
pub fn resource<K: Resource<DynamicType = ()>>() -> ApiResource {
    ApiResource::erase::<K>(&())
}

/// Reads an untyped object.
pub fn read<K: DeserializeOwned>(object: &DynamicObject) -> Entry<K> {
    let value = serde_json::to_value(object);
    match value.and_then(serde_json::from_value::<K>) {
        Ok(good) => Entry::Good(Box::new(good)),
        Err(error) => {
            let malformed = Malformed { object: object.clone(), error: error.to_string() };
            Entry::Malformed(Box::new(malformed))
        }
    }
}

/// Objects by name, each with its resource version.
type Versioned<K> = BTreeMap<String, (Option<String>, Entry<K>)>;

struct Inner<K> {
    objects: Versioned<K>,
    listing: Option<Versioned<K>>,
    synced: bool,
}

/// The objects of one kind by name.
pub struct Objects<K> {
    inner: Mutex<Inner<K>>,
}

impl<K> Default for Objects<K> {
    fn default() -> Self {
        let inner = Inner { objects: BTreeMap::new(), listing: None, synced: false };
        Objects { inner: Mutex::new(inner) }
    }
}

impl<K: DeserializeOwned + Clone> Objects<K> {
    /// Takes in an event; returns the name of the object that changed, or `None` when many may have.
    pub fn event(&self, event: Event<DynamicObject>) -> Option<String> {
        let mut inner = self.lock();
        match event {
            Event::Init => inner.listing = Some(BTreeMap::new()),
            Event::InitApply(object) => {
                if let Some(listing) = &mut inner.listing {
                    listing.insert(object.name_any(), (object.resource_version(), read(&object)));
                }
            }
            Event::InitDone => {
                if let Some(mut listed) = inner.listing.take() {
                    for (name, new) in &mut listed {
                        // A write of our own may be newer than the list.
                        if let Some(old) = inner.objects.get(name)
                            && !is_newer(new.0.as_deref(), old.0.as_deref())
                        {
                            *new = old.clone();
                        }
                    }
                    inner.objects = listed;
                }
                inner.synced = true;
            }
            Event::Apply(object) => {
                let name = object.name_any();
                put(&mut inner, &name, object.resource_version(), read(&object));
                return Some(name);
            }
            Event::Delete(object) => {
                let name = object.name_any();
                inner.objects.remove(&name);
                return Some(name);
            }
        }
        None
    }

    /// Puts the answer to a write or a fresh read of our own, unless a newer version is known.
    pub fn put(&self, object: K)
    where
        K: Resource<DynamicType = ()>,
    {
        let (name, version) = (object.name_any(), object.resource_version());
        put(&mut self.lock(), &name, version, Entry::Good(Box::new(object)));
    }

    /// An object that a fresh read showed to be gone.
    pub fn gone(&self, name: &str) {
        self.lock().objects.remove(name);
    }

    /// One object, if it is there and readable.
    pub fn get(&self, name: &str) -> Option<K> {
        match &self.lock().objects.get(name)?.1 {
            Entry::Good(object) => Some(K::clone(object)),
            Entry::Malformed(_) => None,
        }
    }

    /// True when an object of this name is there, readable or not.
    pub fn contains(&self, name: &str) -> bool {
        self.lock().objects.contains_key(name)
    }

    /// Every object, in order of names.
    pub fn snapshot(&self) -> Vec<Entry<K>> {
        self.lock().objects.values().map(|(_, entry)| entry.clone()).collect()
    }

    /// True after the first complete list.
    pub fn synced(&self) -> bool {
        self.lock().synced
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put<K>(inner: &mut Inner<K>, name: &str, version: Option<String>, entry: Entry<K>) {
    let known = inner.objects.get(name).and_then(|(known, _)| known.as_deref());
    if known.is_none() || is_newer(version.as_deref(), known) {
        inner.objects.insert(name.to_owned(), (version, entry));
    }
}
