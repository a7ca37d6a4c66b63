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

impl<K: Resource> Entry<K> {
    /// Its UID, readable or not.
    pub fn uid(&self) -> Option<String> {
        match self {
            Entry::Good(object) => object.uid(),
            Entry::Malformed(malformed) => malformed.object.uid(),
        }
    }

    fn good(self) -> Option<K> {
        match self {
            Entry::Good(object) => Some(*object),
            Entry::Malformed(_) => None,
        }
    }
}

/// What an event did to the objects known.
pub struct Seen<K> {
    /// Name of the object that changed; `None` when many may have.
    pub changed: Option<String>,
    /// Objects that are gone, as they were known; also those whose name another one has now.
    pub removed: Vec<K>,
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

impl<K: DeserializeOwned + Clone + Resource> Objects<K> {
    /// Takes in an event, and says what it did.
    pub fn event(&self, event: Event<DynamicObject>) -> Seen<K> {
        let mut inner = self.lock();
        let mut seen = Seen { changed: None, removed: Vec::new() };
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
                    let before = std::mem::replace(&mut inner.objects, listed);
                    let gone = before.into_iter().filter(|(name, (_, old))| {
                        inner.objects.get(name).is_none_or(|(_, new)| old.uid() != new.uid())
                    });
                    seen.removed = gone.filter_map(|(_, (_, old))| old.good()).collect();
                }
                inner.synced = true;
            }
            Event::Apply(object) => {
                let name = object.name_any();
                seen.removed.extend(put(
                    &mut inner,
                    &name,
                    object.resource_version(),
                    read(&object),
                ));
                seen.changed = Some(name);
            }
            Event::Delete(object) => {
                let name = object.name_any();
                let removed = inner.objects.remove(&name);
                seen.removed.extend(removed.and_then(|(_, old)| old.good()));
                seen.changed = Some(name);
            }
        }
        seen
    }

    /// Puts the answer to a write or a fresh read of our own, unless a newer version is known.
    pub fn put(&self, object: K)
    where
        K: Resource<DynamicType = ()>,
    {
        let (name, version) = (object.name_any(), object.resource_version());
        put(&mut self.lock(), &name, version, Entry::Good(Box::new(object)));
    }

    /// An object that a fresh read showed to be gone, as it was known.
    pub fn gone(&self, name: &str) -> Option<K> {
        self.lock().objects.remove(name)?.1.good()
    }

    /// One object, if it is there and readable.
    pub fn get(&self, name: &str) -> Option<K> {
        match &self.lock().objects.get(name)?.1 {
            Entry::Good(object) => Some(K::clone(object)),
            Entry::Malformed(_) => None,
        }
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

/// Returns the object of this name that another one has replaced.
fn put<K: Resource>(
    inner: &mut Inner<K>,
    name: &str,
    version: Option<String>,
    entry: Entry<K>,
) -> Option<K> {
    let known = inner.objects.get(name).and_then(|(known, _)| known.as_deref());
    if known.is_some() && !is_newer(version.as_deref(), known) {
        return None;
    }
    let uid = entry.uid();
    let (_, old) = inner.objects.insert(name.to_owned(), (version, entry))?;
    if old.uid() == uid { None } else { old.good() }
}
